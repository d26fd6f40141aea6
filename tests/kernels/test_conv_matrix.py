"""Convolution by matrix instructions: fragments that are whole, rounding by hand, who is offered it, right answers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from clprune.algorithms import Algorithms
from clprune.candidate import bind_case, verify
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.geometry import ConvProblem
from clprune.kernels import matrix_unit
from clprune.kernels.base import Rank
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.matrix_operation import ConvMatrixTile, matrix_operation
from clprune.kernels.matrix_unit import FRAGMENTS, SINGLE, UNIT_ROWS, UNITS, Fragments, best_precision, unit_precisions
from clprune.kernels.rounding import rounded
from clprune.kernels.workload import WeightForm, Workload
from clprune.opencl import Session, open_device
from clprune.packing.columns import pack_columns
from clprune.packing.fragments import FragmentOrder, pack_bundles, pack_fragments
from clprune.plan.offers import offers_for
from clprune.precision import BFLOAT16, FLOAT16, FLOAT32, FORMATS, PRECISION_ERRORS, PRECISIONS, TF32
from tests.imaginary import imaginary_device

AMPERE = imaginary_device(architecture="sm_80")
CDNA2 = imaginary_device(architecture="gfx90a")
PROBLEM = ConvProblem.square(batch=1, in_channels=5, in_height=7, in_width=9, out_channels=33, size=3, padding=1)
PRUNED = Workload(seed=2, kept_share=0.25, unit_rows=16)
each_instruction = pytest.mark.parametrize(("key", "fragments"), FRAGMENTS.items(), ids=lambda v: str(v)[:30])


def pairs(first: np.ndarray, second: np.ndarray) -> Counter[tuple[int, int]]:
    """How often each (row, column) or the like is held, over all lanes."""
    first, second = np.broadcast_arrays(first, second)
    return Counter(zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True))


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


@each_instruction
def test_lanes_hold_whole_matrices(key: tuple[str, str], fragments: Fragments) -> None:
    lanes = fragments.lanes
    a = pairs(fragments.a_rows.of_lanes(lanes), fragments.a_columns.of_lanes(lanes))
    b = pairs(fragments.b_columns.of_lanes(lanes), fragments.b_positions.of_lanes(lanes))
    d = pairs(fragments.d_rows.of_lanes(lanes), fragments.d_positions.of_lanes(lanes))
    rows, columns, positions = range(UNIT_ROWS), range(fragments.columns), range(fragments.positions)
    assert a.keys() == {(row, column) for row in rows for column in columns}
    assert b.keys() == {(column, position) for column in columns for position in positions}
    assert d == Counter((row, position) for row in rows for position in positions)
    assert len(set(a.values())) == len(set(b.values())) == 1  # all as often: WMMA's two halves hold the same


@each_instruction
def test_elements_of_a_word_are_neighbours(key: tuple[str, str], fragments: Fragments) -> None:
    """Two values of a word: the same row and the next column, as every instruction has it but Intel's of 16."""
    places = list(zip(fragments.a_rows.places, fragments.a_columns.places, strict=True))
    if FORMATS[key[1]].size_bytes == 4 or key[0] == "xmx16":
        return
    for (row, column), (other_row, other_column) in zip(places[::2], places[1::2], strict=True):
        assert (other_row, other_column) == (row, column + 1)


def test_weights_lie_as_lanes_hold_them() -> None:
    """mma.m16n8k8: lane 5 is row 1 and 9, columns 2 and 3 of a step."""
    matrix = np.arange(1, 17 * 11 + 1, dtype=np.float32).reshape(17, 11)
    matrix[:16, 4] = 0  # a removed unit
    lists = {"column_offsets": np.arange(100, 111, dtype=np.int32)}
    packed = pack_columns(matrix, bias=np.zeros(17, np.float32), tile_m=16, **lists)
    fragments = FRAGMENTS["mma", TF32]
    order = FragmentOrder(columns=8, rows=fragments.a_rows.of_lanes(32), columns_of=fragments.a_columns.of_lanes(32))
    ordered = pack_fragments(packed, order)
    assert ordered.blocks[:, :3].tolist() == [[0, 16, 0], [16, 16, 256]]
    assert ordered.offsets.tolist() == [
        *(100, 101, 102, 103, 105, 106, 107, 108, 109, *[110] * 7),
        *(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, *[110] * 6),
    ]
    words = ordered.values.view(np.float32).reshape(2, 2, 32, 4)  # block, step, lane, element
    assert words[0, 0, 5].tolist() == [matrix[1, 2], matrix[9, 2], matrix[1, 3], matrix[9, 3]]
    assert words[0, 1, 5].tolist() == [0.0, 0.0, 0.0, 0.0]  # the list ended with the second column of the step
    assert words[0, 1, 4].tolist() == [matrix[1, 9], matrix[9, 9], matrix[1, 10], matrix[9, 10]]
    assert words[1, 0, 0].tolist() == [matrix[16, 0], 0.0, matrix[16, 1], 0.0]


def test_lists_fill_whole_turns() -> None:
    """Of two steps for NVIDIA's smallest tiles: eleven columns become sixteen of one step, thirty-two of two."""
    lists = {"column_offsets": np.arange(11, dtype=np.int32)}
    packed = pack_columns(np.ones((16, 11), np.float32), bias=np.zeros(16, np.float32), tile_m=16, **lists)
    fragments = FRAGMENTS["mma", TF32]
    order = FragmentOrder(columns=16, rows=fragments.a_rows.of_lanes(32), columns_of=fragments.a_columns.of_lanes(32))
    filled = {steps: pack_fragments(packed, order, turn_steps=steps).blocks[0, 1] for steps in (1, 2)}
    assert filled == {1: 16, 2: 32}
    operation = matrix_operation(conv_operation(PROBLEM), precision=TF32)
    steps = {
        tiles_n: CONV_MATRIX.variables(ConvMatrixTile(unit="mma", tile_m=16, tiles_n=tiles_n), operation)["turn_steps"]
        for tiles_n in (4, 16)
    }
    assert steps == {4: 2, 16: 1}


def test_bundles_of_columns_are_kept_together() -> None:
    """Five columns of three channels' 1x1 window in bundles of two: the last is filled up."""
    matrix = np.array([[1, 0, 0, 0, 3, 0], [0, 2, 0, 0, 0, 0], [0, 0, 4, 0, 0, 0]], np.float32)
    packed = pack_bundles(
        matrix,
        bundle=2,
        bias=np.array([7, 8, 9], np.float32),
        tile_m=2,
        column_offsets=np.array([10, 20, 30], np.int32),
    )
    assert packed.tile_m == 2
    assert packed.offsets.tolist() == [10, 30, 20]
    assert packed.blocks.tolist() == [[0, 2, 0, 0, 2, 2], [2, 1, 8, 2, 1, 1]]
    assert packed.values.tolist() == [1, 0, 0, 2, 3, 0, 0, 0, 4, 0, 0, 0]  # a column of a bundle after the other
    assert packed.bias.tolist() == [[7, 8], [9, 0]]
    empty = pack_bundles(
        np.zeros_like(matrix), bundle=2, bias=np.zeros(3, np.float32), tile_m=4, column_offsets=np.zeros(3, np.int32)
    )
    assert empty.blocks[:, 1].tolist() == [0]


@pytest.mark.parametrize(
    ("architecture", "precision", "dense", "pruned"),
    [("sm_80", TF32, 2, 1), ("sm_90", FLOAT16, 4, 2), ("gfx90a", FLOAT16, 4, 2), ("gfx1100", BFLOAT16, 8, 2)],
)
def test_default_bundles(architecture: str, precision: str, dense: int, pruned: int) -> None:
    """As large as fragments take of dense weights; where columns were removed at random they would bring many back."""
    operation = matrix_operation(conv_operation(PROBLEM), precision=precision)
    device, a_quarter = imaginary_device(architecture=architecture), Workload(kept_share=0.25, unit_rows=64)
    assert CONV_MATRIX.default_for(operation, Workload(), device) == CONV_MATRIX.default_tile(operation, device)
    assert CONV_MATRIX.default_tile(operation, device).bundle == dense
    assert CONV_MATRIX.default_for(operation, a_quarter, device).bundle == pruned


def test_bundles_straddle_no_groups() -> None:
    grouped = ConvProblem.square(
        batch=1, in_channels=12, in_height=7, in_width=9, out_channels=64, size=3, padding=1, groups=2
    )
    operation = matrix_operation(conv_operation(grouped), precision=FLOAT16)
    tile = ConvMatrixTile(unit="mma", tile_m=32, tiles_n=8, rounding="before", bundle=2)
    assert CONV_MATRIX.rejection(tile, operation, AMPERE) is None
    wide = dataclasses.replace(tile, bundle=4)
    assert CONV_MATRIX.rejection(wide, operation, AMPERE) == (
        "bundles of rounded channels fill words and fragments, and straddle no groups of channels"
    )


def test_long_bundles_of_wide_strides_are_not_for_compilers_that_guess_registers() -> None:
    strided = ConvProblem.square(
        batch=1, in_channels=3, in_height=17, in_width=13, out_channels=6, size=7, padding=2, stride=3
    )
    operation = matrix_operation(conv_operation(strided), precision=FLOAT16)
    long, short = (
        ConvMatrixTile(unit="mma", tile_m=16, tiles_n=4, mapping="rows", rounding="before", bundle=bundle)
        for bundle in (4, 2)
    )
    nvidia = imaginary_device(type="gpu", architecture="sm_90", extensions=("cl_nv_compiler_options",))
    assert CONV_MATRIX.rejection(long, operation, nvidia) == (
        "bundles of several words that lie three apart and more are given too few registers"
    )
    assert CONV_MATRIX.rejection(short, operation, nvidia) is None
    assert CONV_MATRIX.rejection(long, operation, imaginary_device()) is None
    narrower = matrix_operation(conv_operation(PROBLEM), precision=FLOAT16)
    assert CONV_MATRIX.rejection(dataclasses.replace(long, tile_m=32), narrower, nvidia) is None


def test_rounding() -> None:
    values = np.array([1.0, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, 1 + 2**-12, np.inf, np.nan, 70000.0], np.float32)
    tf32, half = rounded(values, TF32), rounded(values, FLOAT16)
    assert tf32[:5].tolist() == [1.0, 1 + 2**-10, 1 + 2**-9, -1 - 2**-10, 1.0]
    assert half[:5].tolist() == [1.0, 1.0, 1 + 2**-9, -1.0, 1.0]
    assert (tf32[5], half[5], half[7]) == (np.inf, np.inf, np.inf)
    assert np.isnan([tf32[6], half[6]]).all()
    assert tf32[7] == 70016.0
    assert rounded(values, FLOAT32)[4] == values[4]


@pytest.mark.parametrize("precision", [TF32, FLOAT16, BFLOAT16])
@pytest.mark.parametrize("columns", [1, 27, 576, 4608])
def test_errors_are_within_what_is_stated(precision: str, columns: int) -> None:
    """Against exact products, for He-scaled weights and inputs of unit variance."""
    rng = np.random.default_rng(1)
    matrix = (rng.standard_normal((64, columns)) * np.sqrt(2 / columns)).astype(np.float32)
    x = rng.standard_normal((columns, 300)).astype(np.float32)
    exact = matrix.astype(np.float64) @ x
    coarse = rounded(matrix, precision).astype(np.float64) @ rounded(x, precision)
    assert np.abs(coarse - exact).max() / np.abs(exact).max() < PRECISION_ERRORS[precision]


@pytest.mark.parametrize(
    ("architecture", "precision", "expected"),
    [
        ("sm_70", TF32, None),
        ("sm_80", FLOAT32, None),
        ("sm_80", TF32, TF32),
        ("sm_90", FLOAT16, FLOAT16),
        ("gfx90a", FLOAT32, FLOAT32),
        ("gfx90a", TF32, FLOAT32),
        ("gfx942", FLOAT16, FLOAT16),
        ("gfx1100", TF32, None),
        ("gfx1100", FLOAT16, FLOAT16),
        ("gfx1030", FLOAT16, None),
        *((card, BFLOAT16, BFLOAT16) for card in ("sm_80", "gfx908", "gfx90a", "gfx942", "gfx1100")),
        ("sm_75", BFLOAT16, None),
    ],
)
def test_precision_is_the_least_that_is_wanted(architecture: str, precision: str, expected: str | None) -> None:
    assert best_precision(imaginary_device(architecture=architecture), precision) == expected


def test_no_precision_stands_for_one_that_reaches_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of units without bfloat16: float16 is more exact, but ends at 65504; nor is bfloat16 as exact as float16."""
    without = {key: fragments for key, fragments in FRAGMENTS.items() if key[1] != BFLOAT16}
    monkeypatch.setattr(matrix_unit, "FRAGMENTS", without)
    assert best_precision(AMPERE, BFLOAT16) == TF32
    assert best_precision(CDNA2, BFLOAT16) == FLOAT32
    assert best_precision(imaginary_device(architecture="gfx1100"), BFLOAT16) is None
    monkeypatch.setattr(matrix_unit, "FRAGMENTS", {("wmma", BFLOAT16): FRAGMENTS["wmma", BFLOAT16]})
    assert best_precision(imaginary_device(architecture="gfx1100"), FLOAT16) is None


def test_precisions_of_units() -> None:
    assert unit_precisions("mma") == (TF32, FLOAT16, BFLOAT16)
    assert unit_precisions("mfma") == (FLOAT32, FLOAT16, BFLOAT16)
    assert unit_precisions("wmma") == unit_precisions("xmx8") == (FLOAT16, BFLOAT16)
    assert unit_precisions("") == ()


def matrix_offers(device: DeviceInfo, algorithms: Algorithms, problem: ConvProblem = PROBLEM) -> list[tuple[str, int]]:
    operation = conv_operation(problem, activation="relu")
    found = offers_for(operation, WeightForm(), algorithms=algorithms, device=device, kernels=built_in_kernels())
    return [(offer.label, offer.rank) for offer in found if offer.kernel is CONV_MATRIX]


def test_offers() -> None:
    assert matrix_offers(AMPERE, Algorithms(precision=TF32)) == [("matrix tf32", Rank.SPECIAL)]
    assert matrix_offers(AMPERE, Algorithms()) == []
    assert matrix_offers(CDNA2, Algorithms()) == [("matrix float32", Rank.ALTERNATIVE)]
    assert matrix_offers(imaginary_device(type="cpu"), Algorithms(precision=FLOAT16)) == []
    few = ConvProblem.square(batch=1, in_channels=5, in_height=7, in_width=9, out_channels=15, size=3, padding=1)
    assert matrix_offers(AMPERE, Algorithms(precision=TF32), few) == []


def test_precision_and_errors_agree() -> None:
    assert Algorithms().largest_error == 1e-4
    assert Algorithms(precision=TF32).largest_error == PRECISION_ERRORS[TF32]
    assert Algorithms(precision=BFLOAT16).largest_error == 8e-3
    with pytest.raises(
        UsageError, match=r"max_error 0.0001: products in tf32 have errors of up to 0.001: allow as much"
    ):
        Algorithms(precision=TF32, max_error=1e-4)
    with pytest.raises(UsageError, match=r"precision 'int4': expected one of float32, tf32, float16, bfloat16"):
        Algorithms(precision="int4")


def test_tiles_of_different_precision_do_not_mix() -> None:
    operation = conv_operation(PROBLEM)
    keys = {matrix_operation(operation, precision=precision).key for precision in PRECISIONS}
    assert len(keys | {operation.key}) == 5


def test_units_of_pruning_follow_from_the_tile() -> None:
    tile = ConvMatrixTile(unit="mma", tile_m=32, tiles_n=8, group_n=4)
    assert CONV_MATRIX.wavefront_rows(tile) == CONV_MATRIX.workgroup_rows(tile) == 32


def test_devices_get_their_own_instructions() -> None:
    operation = matrix_operation(conv_operation(PROBLEM), precision=TF32)
    assert CONV_MATRIX.default_tile(operation, AMPERE).unit == "mma"
    assert CONV_MATRIX.build_options(AMPERE) == ("-DHAS_MATRIX_MMA",)
    assert CONV_MATRIX.default_tile(operation, imaginary_device()).unit == SINGLE
    assert CONV_MATRIX.build_options(imaginary_device()) == ()
    tiles = CONV_MATRIX.candidates(operation, AMPERE)
    assert {tile.unit for tile in tiles} == {"mma"}


BUNDLES = (0, 1, 2, 4, 8)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_answers(session: Session, unit: str, bundle: int) -> None:
    """A pruned case per instruction, of whose five channels the last bundle lacks some: without bundles in all the
    unit's precisions, with them in one after the other. `make conformance` has the rest.
    """
    rounding = {"rounding": "before", "bundle": bundle} if bundle else {"rounding": "loaded"}
    tile = ConvMatrixTile(unit=unit, tile_m=16, tiles_n=2, group_n=1 if unit == SINGLE else 2, **rounding)
    plain = conv_operation(PROBLEM, activation="leaky")
    operations = [matrix_operation(plain, precision=precision) for precision in PRECISIONS]
    valid = [one for one in operations if CONV_MATRIX.rejection(tile, one, session.info) is None]
    for operation in [valid[BUNDLES.index(bundle) % len(valid)]] if bundle and valid else valid:
        sample = CONV_MATRIX.sample(operation, PRUNED)
        verify(session, bind_case(session, CONV_MATRIX, tile, operation, CONV_MATRIX.case(tile, operation, sample)))
