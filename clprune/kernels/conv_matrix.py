"""Direct convolution by matrix instructions of GPUs (`templates/conv_matrix.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.device import MFMA, MMA, WMMA, XMX8, XMX16, DeviceInfo
from clprune.geometry import ConvProblem, ceil_div, round_up
from clprune.kernels import matrix_unit
from clprune.kernels.arguments import Answer, Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import (
    ConvOperation,
    can_pool,
    conv_operation,
    conv_problems,
    conv_reference,
)
from clprune.kernels.convolution import PositionKernel
from clprune.kernels.matrix_unit import FRAGMENTS, SINGLE, UNIT_ROWS, UNITS, Fragments, Spread, best_precision
from clprune.kernels.rounding import rounded
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, INT8, decoded_matrix
from clprune.kernels.tile import Constraint, values
from clprune.kernels.windows import window_variables
from clprune.layout import READ_MARGIN
from clprune.packing.columns import PackedColumns, pack_columns
from clprune.packing.fragments import FragmentOrder, pack_fragments
from clprune.precision import FLOAT16, FLOAT32, PRECISION_ERRORS, TF32
from clprune.quirks import wants_explicit_vectors
from clprune.tolerance import amplified_terms

#: float32 sums of one lane, which leave registers for inputs and weights.
MOST_ACCUMULATORS = 128

#: Matrix instructions add with fewer guard bits than a float32 addition has, and cut off what is beyond.
SUM_AMPLIFICATION = 8.0


@dataclass(frozen=True, kw_only=True)
class ConvMatrixTile:
    """Parameters of the template, explained there.

    A warp computes `tile_m` output channels x `tiles_n` instructions' positions; a work-group is `group_n` warps.
    """

    unit: str = field(metadata=values(*UNITS, cpu=(SINGLE,)))
    tile_m: int = field(metadata=values(16, 32, 64, 128))
    tiles_n: int = field(metadata=values(1, 2, 4, 8, 16))
    group_n: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    mapping: str = field(default="flat", metadata=values("flat", "rows"))
    rounding: str = field(default="loaded", metadata=values("loaded", "before"))

    @property
    def vector_width(self) -> int:
        """Positions are counted one by one."""
        return 1

    @property
    def vectors(self) -> int:
        return self.tiles_n


@dataclass(frozen=True, kw_only=True)
class ConvMatrixOperation(ConvOperation):
    """A convolution whose products are of rounded factors: `precision` is one of `clprune.precision.PRECISIONS`."""

    precision: str = FLOAT32

    @property
    def key(self) -> str:
        return f"{super().key} matrix {self.precision}"


def matrix_operation(operation: ConvOperation, *, precision: str) -> ConvMatrixOperation:
    """The same convolution with factors of that precision."""
    return ConvMatrixOperation(**vars(operation), precision=precision)


def fragments_of(tile: ConvMatrixTile, operation: Any) -> Fragments | None:
    """The instruction that the tile computes with, or None where its unit has none of that precision."""
    return FRAGMENTS.get((tile.unit, operation.precision))


def _fits(tile: ConvMatrixTile, operation: Any) -> bool:
    fragments = FRAGMENTS[tile.unit, operation.precision]
    return tile.tile_m // UNIT_ROWS * tile.tiles_n * fragments.accumulators <= MOST_ACCUMULATORS


def _spread(spread: Spread) -> tuple[int, int, int]:
    """What a template needs of a spread beside its places."""
    return (spread.divisor, spread.modulus, spread.factor)


def _tiles(
    unit: str,
    *sides: tuple[int, int],
    roundings: tuple[str, ...] = ("before", "loaded"),
    mappings: tuple[str, ...] = ("flat", "rows"),
) -> list[ConvMatrixTile]:
    """Tiles of (tile_m, tiles_n) in all combinations."""
    return [
        ConvMatrixTile(unit=unit, tile_m=tile_m, tiles_n=tiles_n, group_n=4, mapping=mapping, rounding=rounding)
        for tile_m, tiles_n in sides
        for rounding in roundings
        for mapping in mappings
    ]


def _rounding_group(tile: ConvMatrixTile) -> int:
    """Work-items of a work-group that rounds inputs."""
    return 1 if tile.unit == SINGLE else 64


class ConvMatrixKernel(PositionKernel[ConvMatrixTile]):
    """See `templates/conv_matrix.cl.mako`."""

    name = "conv_matrix"
    can_add = True
    template = "conv_matrix"
    generators = (window_variables, matrix_unit, _spread, _rounding_group)
    tile_type = ConvMatrixTile
    computes = ConvOperation
    algorithm = "direct"
    constraints = (
        Constraint(
            reason="the matrix unit has no instruction of this precision",
            holds=lambda t, o: fragments_of(t, o) is not None,
        ),
        Constraint(reason="the sums of a lane exceed its registers", holds=_fits),
        Constraint(
            reason="the input's offsets in bytes exceed 32 bits",
            holds=lambda t, o: o.input.size_bytes < 2**32,
        ),
        Constraint(
            reason="float32 is not rounded",
            holds=lambda t, o: t.rounding == "loaded" or getattr(o, "precision", FLOAT32) != FLOAT32,
        ),
        Constraint(
            reason="mapping flat needs stride 1 and one pitch for input and output",
            holds=lambda t, o: t.mapping != "flat" or o.can_be_flat,
        ),
        Constraint(
            reason="fused pooling needs four instructions' positions and whole windows",
            holds=lambda t, o: not o.pooled or (t.tiles_n % 4 == 0 and can_pool(o.problem)),
        ),
        Constraint(
            reason="a work-item on its own shares nothing with others",
            holds=lambda t, o: t.unit != SINGLE or t.group_n == 1,
        ),
        Constraint(
            reason="the tile has more rows than the layer has output channels per group",
            holds=lambda t, o: t.tile_m < 2 * o.problem.group_out_channels or t.tile_m == UNIT_ROWS,
        ),
    )
    cpu_tiles = (ConvMatrixTile(unit=SINGLE, tile_m=16, tiles_n=4),)
    # Each input that a warp has loaded serves as many instructions as the tile has units of 16 rows. Compiled for sm_80
    # and sm_90, TF32 takes 1.8 other instructions per matrix instruction with 32 rows and 2.8 with 16, where positions
    # run flat; rounding what was loaded takes two more per input.
    gpu_tiles = (
        *_tiles(MMA, (32, 8), (64, 4), (16, 4), roundings=("before",)),
        *_tiles(MMA, (32, 8), (64, 4), roundings=("loaded",), mappings=("flat",)),
        ConvMatrixTile(unit=MMA, tile_m=16, tiles_n=16, group_n=4, rounding="before"),
        *_tiles(MFMA, (32, 4), (64, 4), (16, 8)),
        *_tiles(WMMA, (64, 2), roundings=("before",), mappings=("flat",)),
        *_tiles(WMMA, (32, 2), (16, 4), roundings=("before",)),
        *_tiles(XMX16, (32, 4), (16, 4)),
        *_tiles(XMX8, (32, 4), (16, 4)),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where the device's matrix unit computes as exactly as is wanted, or the wish itself is less exact."""
        operation, form = request.operation, request.form
        precision = best_precision(request.device, request.precision)
        if precision is None or form.winograd is not None or form.quantizes_input:
            return ()
        if operation.problem.group_out_channels < UNIT_ROWS or PRECISION_ERRORS[precision] > request.max_error:
            return ()
        offer = self.offer(
            dataclasses.replace(request, operation=matrix_operation(operation, precision=precision)),
            label=f"matrix {precision}",
            rank=Rank.ALTERNATIVE if precision == FLOAT32 else Rank.SPECIAL,
        )
        return (offer,)

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        """The device's own instructions; all others are emulated."""
        return (f"-DHAS_MATRIX_{device.matrix_unit.upper()}",) if device.matrix_unit else ()

    def own_tiles(self, device: DeviceInfo) -> Sequence[ConvMatrixTile]:
        """Those of its matrix unit; a GPU without one has none."""
        return [tile for tile in super().own_tiles(device) if self._suits(tile, device)]

    def is_worth_trying(self, tile: ConvMatrixTile, operation: ConvOperation, device: DeviceInfo) -> bool:
        """An emulation never is where there is the instruction; elsewhere it is, as work-groups are."""
        is_single = tile.unit == SINGLE
        return self._suits(tile, device) if device.matrix_unit else is_single == wants_explicit_vectors(device)

    def _suits(self, tile: ConvMatrixTile, device: DeviceInfo) -> bool:
        return tile.unit == (device.matrix_unit or SINGLE)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvMatrixTile:
        """The first of the unit's tiles that fits: what declares local memory uses it in emulations only."""
        fitting = (tile for tile in self.own_tiles(device) if self.rejection(tile, operation, device) is None)
        return next(fitting, self.safe_tile(operation))

    def local_mem_bytes(self, tile: ConvMatrixTile, operation: Any) -> int:
        """What an emulation exchanges fragments through."""
        fragments = fragments_of(tile, operation)
        if fragments is None or fragments.lanes == 1:
            return 0
        return 4 * tile.group_n * fragments.columns * (tile.tile_m + tile.tiles_n * fragments.positions)

    def launch(self, tile: ConvMatrixTile, operation: Any) -> Launch:
        fragments = FRAGMENTS[tile.unit, operation.precision]
        problem = operation.problem
        blocks = problem.groups * ceil_div(problem.group_out_channels, tile.tile_m)
        slots_per_warp = fragments.positions * (tile.tiles_n // 4 if operation.pooled else tile.tiles_n)
        groups = blocks * ceil_div(_slots(tile, operation), slots_per_warp * tile.group_n)
        size = fragments.lanes * tile.group_n
        return Launch(global_size=(groups * size,), local_size=(size,))

    def stages(self, tile: ConvMatrixTile, operation: Any) -> tuple[Stage, ...]:
        """Round the input where that is done before, multiply."""
        if tile.rounding == "loaded":
            return super().stages(tile, operation)
        size = _rounding_group(tile)
        _, count = _input_range(operation)
        rounding = Launch(global_size=(round_up(count, size),), local_size=(size,))
        takes = {"x": "q", "x_origin": "q_origin"}
        return (
            Stage(name="round_input", launch=rounding),
            Stage(name=self.name, launch=self.launch(tile, operation), takes=takes),
        )

    def scratch(self, tile: ConvMatrixTile, operation: Any) -> dict[str, Scratch]:
        """The rounded input, as far as it is read."""
        if tile.rounding == "loaded":
            return {}
        _, count = _input_range(operation)
        elements = count + READ_MARGIN  # that tiles of mapping "flat" read behind the last position
        return {"q": Scratch(elements=ceil_div(elements, 2) if operation.precision == FLOAT16 else elements)}

    def variables(self, tile: ConvMatrixTile, operation: Any) -> dict[str, Any]:
        fragments = FRAGMENTS[tile.unit, operation.precision]
        spreads = {name: value for name, value in vars(fragments).items() if isinstance(value, Spread)}
        return {
            **window_variables(operation.problem.window),
            **{name: _spread(spread) for name, spread in spreads.items()},
            **{f"{name}_places": spread.places for name, spread in spreads.items()},
            "lanes": fragments.lanes,
            "columns": fragments.columns,
            "positions": fragments.positions,
            "rounding_group": _rounding_group(tile),
            "precision": operation.precision,
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": operation.added,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvMatrixTile:
        mapping = "flat" if operation.can_be_flat else "rows"
        return ConvMatrixTile(unit=SINGLE, tile_m=UNIT_ROWS, tiles_n=4, mapping=mapping)

    def pack(self, tile: ConvMatrixTile, operation: Any, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per row block, rounded, in fragments.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        fragments = FRAGMENTS[tile.unit, operation.precision]
        matrix = rounded(stored_as(weights, operation), operation.precision)
        packed = pack_columns(matrix, bias=weights.biases, **operation.list_options, tile_m=tile.tile_m)
        order = FragmentOrder(
            columns=fragments.columns,
            rows=fragments.a_rows.of_lanes(fragments.lanes),
            columns_of=fragments.a_columns.of_lanes(fragments.lanes),
        )
        return pack_fragments(packed, order, dtype=np.float16 if operation.precision == FLOAT16 else np.float32)

    def arguments(self, tile: ConvMatrixTile, operation: Any, packed: PackedColumns) -> Arguments:
        shape = operation.output.shape
        first, count = _input_range(operation)
        rounding = {"first": first, "count": count, "q_origin": operation.input.origin - first}
        return {
            **(rounding | self.scratch(tile, operation) if tile.rounding == "before" else {}),
            **packed.arrays,
            "block_count": len(packed.blocks),
            "valid": operation.valid_positions(tile),
            "slot_count": _slots(tile, operation),
            "out_width": shape.width,
            "rows_per_image": shape.height,
            **places(x=operation.input, y=operation.output),
            **operation.sum_arguments,
        }

    def sums(self, operation: Any, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """Exact sums of rounded factors."""
        matrix = rounded(stored_as(weights, operation), operation.precision)
        return conv_reference(rounded(x, operation.precision), matrix, weights.biases, operation.problem)

    def error_terms(self, operation: ConvOperation) -> int:
        return amplified_terms(super().error_terms(operation), amplification=SUM_AMPLIFICATION)

    def rounding_error(self, operation: Any) -> float:
        return PRECISION_ERRORS[operation.precision]

    def sample_operations(self) -> tuple[ConvMatrixOperation, ...]:
        """Small odd shapes in every precision."""
        shapes = (
            # channels, height, width, filters, size, stride, padding, groups, batch
            (1, 1, 1, 1, 1, 1, 0, 1, 1),
            (3, 13, 13, 7, 3, 1, 1, 1, 1),
            (5, 7, 33, 33, 3, 1, 1, 1, 2),
            (4, 13, 7, 31, 3, 2, 1, 1, 2),
            (6, 8, 9, 34, 3, 1, 1, 2, 1),
            (17, 9, 11, 65, 1, 1, 0, 1, 3),
        )
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "groups", "batch")
        problems = conv_problems(names, shapes)
        pooled = ConvProblem.square(
            batch=2, in_channels=3, in_height=6, in_width=38, out_channels=35, size=3, padding=1
        )
        plain = (
            *(conv_operation(problem, activation="leaky") for problem in problems),
            conv_operation(pooled, activation="relu", pooled=True),
            conv_operation(problems[2], activation="linear", added="relu"),
        )
        coded = (
            matrix_operation(conv_operation(problems[1], activation="relu", storage=INT8), precision=TF32),
            matrix_operation(conv_operation(problems[4], activation="linear", storage=CODEBOOK4), precision=FLOAT16),
        )
        both = tuple(matrix_operation(each, precision=precision) for precision in (TF32, FLOAT16) for each in plain)
        exact = tuple(matrix_operation(each, precision=FLOAT32) for each in plain[-4:])
        return (*both, *exact, *coded)

    def probes(self, tile: ConvMatrixTile) -> tuple[ConvMatrixOperation, ...]:
        """The samples, and as many channels as the tallest tiles have."""
        tall = ConvProblem.square(
            batch=1, in_channels=3, in_height=5, in_width=6, out_channels=tile.tile_m + 1, size=3, padding=1
        )
        operation = conv_operation(tall, activation="relu")
        return (*self.sample_operations(), *(matrix_operation(operation, precision=p) for p in PRECISION_ERRORS))


def stored_as(weights: LayerWeights, operation: ConvOperation) -> npt.NDArray[np.float32]:
    """The weights `[rows, columns]` that the layer's storage holds."""
    return decoded_matrix(weights, operation.storage)


def _input_range(operation: ConvOperation) -> tuple[int, int]:
    """First element of the input's buffer that any output needs, and how many there are up to the last."""
    layout, offsets = operation.input, operation.column_offsets
    first = layout.origin + int(offsets.min())
    return first, layout.origin + layout.shape.channels * layout.channel_stride + max(0, -int(offsets.min())) - first


def _slots(tile: ConvMatrixTile, operation: ConvOperation) -> int:
    """Positions of the output, after pooling; mapping "flat": of the run through its padded rows."""
    if tile.mapping == "flat":
        return operation.positions
    shape = operation.output.shape
    return operation.problem.batch * shape.height * shape.width


CONV_MATRIX = ConvMatrixKernel()
