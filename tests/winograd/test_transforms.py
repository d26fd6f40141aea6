"""Transforms against exact rationals and against direct convolution."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from clprune.geometry import ConvProblem
from clprune.kernels.conv_operation import conv_reference
from clprune.winograd.transforms import (
    input_tiles,
    interpolation_points,
    transform_filters,
    transform_input,
    transform_matrices,
    transform_output,
    winograd_convolution,
)

Rows = list[list[Fraction]]


def product(left: Rows, right: Rows) -> Rows:
    return [
        [sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in zip(*right, strict=True)]
        for row in left
    ]


def transposed(matrix: Rows) -> Rows:
    return [list(row) for row in zip(*matrix, strict=True)]


def rows(matrix: tuple[tuple[Fraction, ...], ...]) -> Rows:
    return [list(row) for row in matrix]


@pytest.mark.parametrize(("m", "r"), [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3), (2, 1), (2, 5), (4, 2)])
def test_the_bilinear_form_is_correlation(m: int, r: int) -> None:
    """Coefficient by coefficient: sum_j AT[i][j] G[j][k] BT[j][p] is 1 where p = i + k, else 0. Proof, not sample."""
    t = transform_matrices(m, r)
    for i in range(m):
        for k in range(r):
            for p in range(t.input_tile):
                value = sum((t.AT[i][j] * t.G[j][k] * t.BT[j][p] for j in range(t.input_tile)), Fraction(0))
                assert value == int(p == i + k)


@pytest.mark.parametrize("m", [2, 4])
def test_tiles_of_rationals_are_exact(m: int) -> None:
    t = transform_matrices(m)
    generator = random.Random(5)

    def draw(size: int) -> Rows:
        return [[Fraction(generator.randint(-9, 9), generator.randint(1, 9)) for _ in range(size)] for _ in range(size)]

    d, g = draw(t.input_tile), draw(3)
    u = product(product(rows(t.G), g), transposed(rows(t.G)))
    v = product(product(rows(t.BT), d), transposed(rows(t.BT)))
    multiplied = [[a * b for a, b in zip(x, y, strict=True)] for x, y in zip(u, v, strict=True)]
    result = product(product(rows(t.AT), multiplied), transposed(rows(t.AT)))
    for y in range(m):
        for x in range(m):
            assert result[y][x] == sum(d[y + a][x + b] * g[a][b] for a in range(3) for b in range(3))


def test_matrices_are_those_of_lavin_and_gray() -> None:
    """Section 4.1 and 4.3, but for signs that cancel between B^T and G."""
    t2, t4 = transform_matrices(2), transform_matrices(4)
    half, sixth, twelfth, twenty_fourth = Fraction(1, 2), Fraction(1, 6), Fraction(1, 12), Fraction(1, 24)
    assert t2.BT == ((-1, 0, 1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    lavin_g2 = ((-1, 0, 0), (half, half, half), (half, -half, half), (0, 0, 1))
    assert lavin_g2 == t2.G
    assert t2.AT == ((1, 1, 1, 0), (0, 1, -1, 1))
    assert t4.BT == (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    )
    lavin_g4 = (
        (Fraction(1, 4), 0, 0),
        (-sixth, -sixth, -sixth),
        (-sixth, sixth, -sixth),
        (twenty_fourth, twelfth, sixth),
        (twenty_fourth, -twelfth, sixth),
        (0, 0, 1),
    )
    assert lavin_g4 == t4.G
    assert t4.AT == ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
    assert (t2.input_tile, t2.matrices, t4.input_tile, t4.matrices) == (4, 16, 6, 36)


def test_points_differ() -> None:
    assert interpolation_points(7) == [0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2)]
    points = interpolation_points(15)
    assert len(set(points)) == 15


@pytest.mark.parametrize(("m", "r"), [(0, 3), (2, 0), (-1, 3)])
def test_sizes_are_positive(m: int, r: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        transform_matrices(m, r)


def test_shapes_of_the_references() -> None:
    assert transform_filters(np.ones((5, 7, 3, 3), np.float32), 4).shape == (6, 6, 5, 7)
    assert transform_input(np.ones((2, 5, 4, 4)), 2).shape == (4, 4, 2, 5)
    assert transform_output(np.ones((6, 6, 5, 3)), 4).shape == (5, 3, 4, 4)
    assert input_tiles(np.ones((2, 3, 5, 9)), 4, padding=1).shape == (2, 3, 2, 3, 6, 6)
    assert input_tiles(np.ones((1, 1, 4, 4)), 2, padding=0).shape == (1, 1, 1, 1, 4, 4)


def test_a_transformed_filter_by_hand() -> None:
    g = np.zeros((1, 1, 3, 3), np.float32)
    g[0, 0, 1, 1] = 1
    column = np.array([0, 0.5, -0.5, 0])
    np.testing.assert_array_equal(transform_filters(g, 2)[:, :, 0, 0], np.outer(column, column))


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(("size", "channels", "batch"), [(1, 3, 1), (5, 1, 2), (7, 5, 1), (13, 3, 2), (31, 2, 1)])
def test_layers_equal_direct_convolution(m: int, padding: int, size: int, channels: int, batch: int) -> None:
    if size + 2 * padding < 3:
        pytest.skip("no output")
    problem = ConvProblem.square(
        in_channels=channels,
        in_height=size,
        in_width=size + 2,
        out_channels=4,
        size=3,
        stride=1,
        padding=padding,
        batch=batch,
    )
    generator = np.random.default_rng(size)
    x = generator.standard_normal((batch, channels, size, size + 2))
    weights = generator.standard_normal((4, channels, 3, 3))
    expected = conv_reference(x, weights.reshape(4, -1), np.zeros(4), problem)
    u = transform_filters(weights, m)
    np.testing.assert_allclose(winograd_convolution(x, u, output_tile=m, padding=padding), expected, atol=1e-11)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs \\[6, 6, out, 3\\]"):
        winograd_convolution(np.ones((1, 3, 8, 8)), np.ones((4, 4, 2, 3)), output_tile=4, padding=1)
    with pytest.raises(ValueError, match="does not fit"):
        input_tiles(np.ones((1, 1, 2, 8)), 4, padding=0)
