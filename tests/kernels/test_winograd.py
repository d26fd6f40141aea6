"""What only Winograd kernels have: printed transforms, obstacles, weights of either domain, samples."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.geometry import ConvProblem, Window
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.transform_source import transform_statements
from clprune.kernels.winograd_fused import WINOGRAD_FUSED, WinogradFusedTile
from clprune.kernels.winograd_operation import (
    WinogradOperation,
    remove_units,
    transformed_weights,
    winograd_obstacle,
    winograd_operation,
)
from clprune.kernels.workload import Workload
from clprune.winograd.transforms import Matrix, transform_filters, transform_matrices
from tests.imaginary import imaginary_device

PROBLEM = ConvProblem.square(batch=1, in_channels=3, in_height=9, in_width=10, out_channels=4, size=3, padding=1)


def operation(problem: ConvProblem = PROBLEM, output_tile: int = 4) -> WinogradOperation:
    return winograd_operation(conv_operation(problem), output_tile=output_tile)


def value_of(statements: list[str], values: dict[str, Fraction]) -> dict[str, Fraction]:
    """Run the printed statements on rationals."""
    names: dict[str, object] = {**values, "MULTIPLY_ADD": lambda a, b, c: a * b + c}
    for statement in statements:
        text = statement.removeprefix("const float ").replace("(float)", "").replace("f)", ")").rstrip(";")
        name, expression = text.split(" = ")
        names[name] = eval(expression, {}, names)
    return {name: value for name, value in names.items() if isinstance(value, int | float | Fraction)}


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["BT", "AT"])
def test_printed_transforms_are_the_matrices(m: int, kind: str) -> None:
    matrix: Matrix = getattr(transform_matrices(m), kind)
    sources = [f"d{k}" for k in range(len(matrix[0]))]
    targets = [f"v{i}" for i in range(len(matrix))]
    statements = transform_statements(matrix, sources, targets, vector="float", prefix="h")
    for column, name in enumerate(sources):
        result = value_of(statements, {other: Fraction(int(other == name)) for other in sources})
        assert [result[target] for target in targets] == [float(row[column]) for row in matrix]


@pytest.mark.parametrize(("kind", "operations"), [("BT", 12), ("AT", 10)])
def test_even_and_odd_parts_are_shared(kind: str, operations: int) -> None:
    """F(4x4, 3x3): as many operations as one would write by hand."""
    matrix: Matrix = getattr(transform_matrices(4), kind)
    sources = [f"d{k}" for k in range(len(matrix[0]))]
    text = " ".join(
        transform_statements(matrix, sources, [f"v{i}" for i in range(len(matrix))], vector="T", prefix="h")
    )
    assert text.count(" + ") + text.count(" - ") + text.count("MULTIPLY_ADD") == operations


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"window": Window.square(5, padding=1)}, "filters are 5x5"),
        ({"window": Window.square(3, stride=2, padding=1)}, "the stride is 2"),
        ({"in_channels": 4, "groups": 2}, "2 groups"),
        ({"window": Window.square(3, padding=3)}, "the padding is 3"),
    ],
)
def test_obstacles(change: dict[str, Any], reason: str) -> None:
    problem = dataclasses.replace(PROBLEM, **change)
    obstacle = winograd_obstacle(problem)
    assert obstacle is not None
    assert reason in obstacle
    with pytest.raises(UsageError, match=reason):
        operation(problem)


def test_output_tiles() -> None:
    with pytest.raises(UsageError, match="output tile 3: expected one of 2, 4"):
        operation(output_tile=3)
    assert operation().key.endswith(" F4")
    assert operation(output_tile=2).key != operation().key
    assert (operation().input_tile, operation().matrices, operation().tile_rows) == (6, 36, 3)
    assert (operation().segments_per_row(1), operation().segments_per_row(2), operation().segments(2)) == (3, 2, 6)


def test_weights_of_either_domain() -> None:
    generator = np.random.default_rng(1)
    spatial = generator.standard_normal((4, 3, 3, 3)).astype(np.float32)
    biases = np.zeros(4, np.float32)
    exact = transformed_weights(LayerWeights(weights=spatial, biases=biases), operation())
    np.testing.assert_array_equal(exact, transform_filters(spatial, 4))
    u = exact.astype(np.float32)
    given = LayerWeights(weights=u, biases=biases, winograd=4)
    assert transformed_weights(given, operation()) is u
    with pytest.raises(UsageError, match=r"F\(4x4, 3x3\) cannot be computed as F\(2x2, 3x3\)"):
        transformed_weights(given, operation(output_tile=2))


def test_units_are_removed_alike_from_each_matrix() -> None:
    u = np.ones((4, 4, 12, 10), np.float32)
    remove_units(u, np.random.default_rng(0), Workload(kept_share=0.3, unit_rows=8))
    blocks = u[:, :, [0, 8]]
    np.testing.assert_array_equal(blocks.sum(axis=3), 3)
    np.testing.assert_array_equal(u[:, :, :8], np.broadcast_to(u[:, :, :1], (4, 4, 8, 10)))
    assert not np.array_equal(blocks[:, :, 0], blocks[:, :, 1])


def test_pruned_filters_are_skipped_too() -> None:
    """A unit that is zero in all nine taps is zero in every U_xi."""
    weights = np.ones((4, 3, 3, 3), np.float32)
    weights[:, 1] = 0
    tile = WinogradFusedTile(tile_m=4, vector_width=4, vectors=1)
    packed = WINOGRAD_FUSED.pack(
        tile, operation(), weights=LayerWeights(weights=weights, biases=np.zeros(4, np.float32))
    )
    assert packed.kept_share == pytest.approx(2 / 3)


@pytest.mark.parametrize(("compute_units", "groups"), [(1, 1), (2, 2), (6, 8), (300, 8)])
def test_a_work_group_per_compute_unit(compute_units: int, groups: int) -> None:
    """As many as there are passes for: 144 tiles in vectors of 16 are 9."""
    device = imaginary_device(type="cpu", compute_units=compute_units, native_vector_width_float=16)
    problem = ConvProblem.square(batch=1, in_channels=3, in_height=48, in_width=48, out_channels=8, size=3, padding=1)
    tile = WinogradFusedTile(tile_m=8, vector_width=16, vectors=1, groups=groups)
    assert WINOGRAD_FUSED.is_worth_trying(tile, operation(problem), device)
    other = dataclasses.replace(tile, groups=4)
    assert not WINOGRAD_FUSED.is_worth_trying(other, operation(problem), device)
    chosen = WINOGRAD_FUSED.default_tile(operation(problem), device)
    assert chosen.groups <= groups
    assert WINOGRAD_FUSED.rejection(chosen, operation(problem), device) is None


def test_fused_work_groups_are_of_one_warp_where_larger_ones_spill() -> None:
    layer = operation(dataclasses.replace(PROBLEM, out_channels=16))
    for vendor, size in (("NVIDIA Corporation", 32), ("Advanced Micro Devices, Inc.", 64)):
        device = imaginary_device(vendor=vendor, type="gpu")
        sizes = {tile.work_group_size for tile in WINOGRAD_FUSED.own_tiles(device)}
        assert sizes == {size}
        assert WINOGRAD_FUSED.default_tile(layer, device).work_group_size == size
