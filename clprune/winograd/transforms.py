"""The transforms of Winograd convolution F(m x m, r x r), generated exactly from interpolation points.

    Y = A^T [ (G g G^T) . (B^T d B) ] A

computes an m x m tile of the correlation of an input tile d `[alpha, alpha]` (alpha = m + r - 1) with a filter g
`[r, r]` by alpha^2 multiplications instead of m^2 r^2 (Lavin & Gray, "Fast Algorithms for Convolutional Neural
Networks", arXiv:1509.09308, section 4). Summed over input channels, each of the alpha^2 positions xi becomes a matrix
product with U_xi `[out_channels, in_channels]`.

Construction (Toom-Cook; Lavin & Gray section 4.2 refers to it, the choice of points is theirs for m = 2 and 4): a
product of polynomials with r and m coefficients is interpolated from its values at alpha - 1 points a_j and at
infinity. With M(x) = prod_j (x - a_j) and f_j = prod_(l != j) (a_j - a_l),

- G holds the powers a_j^k / f_j, and picks the highest coefficient at infinity,
- A holds the powers a_j^i likewise, without f_j,
- B^T holds the coefficients of M(x) / (x - a_j), and of M(x) at infinity;

transposing the product's bilinear form (Winograd's transposition principle) yields the correlation. Rows of B^T and G
may differ in sign from the printed ones: each pair of signs cancels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray64 = npt.NDArray[np.float64]
Matrix = tuple[tuple[Fraction, ...], ...]

#: Side of the filters that the project's Winograd kernels compute.
FILTER_SIZE = 3


@dataclass(frozen=True, kw_only=True)
class WinogradTransforms:
    """Exact matrices of F(output_tile x output_tile, filter_size x filter_size).

    AT `[output_tile, input_tile]`, G `[input_tile, filter_size]`, BT `[input_tile, input_tile]`, rows of Fractions.
    """

    output_tile: int
    filter_size: int
    AT: Matrix
    G: Matrix
    BT: Matrix

    @property
    def input_tile(self) -> int:
        """alpha: side of the tiles in the Winograd domain."""
        return self.output_tile + self.filter_size - 1

    @property
    def matrices(self) -> int:
        """alpha^2: how many matrices U_xi there are."""
        return self.input_tile**2

    @property
    def output_array(self) -> FloatArray64:
        """A^T as float64."""
        return _array(self.AT)

    @property
    def filter_array(self) -> FloatArray64:
        """G as float64."""
        return _array(self.G)

    @property
    def input_array(self) -> FloatArray64:
        """B^T as float64."""
        return _array(self.BT)


@functools.cache
def transform_matrices(output_tile: int, filter_size: int = FILTER_SIZE) -> WinogradTransforms:
    """The transforms of F(m x m, r x r) with the points 0, 1, -1, 2, -2, 1/2, -1/2, 3, -3, 1/3, ...

    Raises ValueError if `output_tile` or `filter_size` is not positive.
    """
    if output_tile < 1 or filter_size < 1:
        raise ValueError(f"F({output_tile}, {filter_size}): both sizes must be at least 1")
    points = interpolation_points(output_tile + filter_size - 2)
    scales = [_product([a - other for other in points if other != a]) for a in points]
    return WinogradTransforms(
        output_tile=output_tile,
        filter_size=filter_size,
        AT=_transposed(_powers(points, output_tile)),
        G=tuple(
            tuple(power / scale for power in row)
            for row, scale in zip(_powers(points, filter_size), [*scales, Fraction(1)], strict=True)
        ),
        BT=(
            *(_padded(_from_roots([p for p in points if p != a]), len(points) + 1) for a in points),
            tuple(_from_roots(points)),
        ),
    )


def interpolation_points(count: int) -> list[Fraction]:
    """The first `count` points: small numbers, their negatives and inverses, so that rounding errors stay small."""
    points = [Fraction(0)]
    magnitude = 1
    while len(points) < count:
        for value in dict.fromkeys((Fraction(magnitude), Fraction(1, magnitude))):
            points += [value, -value]
        magnitude += 1
    return points[:count]


def transform_filters(weights: npt.NDArray[Any], output_tile: int) -> FloatArray64:
    """U = G g G^T, float64 `[alpha, alpha, out, in]`, of filters `[out, in, r, r]`."""
    g = transform_matrices(output_tile, weights.shape[-1]).filter_array
    return _both_sides(g, np.moveaxis(weights, (-2, -1), (0, 1)))


def transform_input(tiles: npt.NDArray[Any], output_tile: int, filter_size: int = FILTER_SIZE) -> FloatArray64:
    """V = B^T d B, float64 `[alpha, alpha, ...]`, of input tiles `[..., alpha, alpha]`."""
    bt = transform_matrices(output_tile, filter_size).input_array
    return _both_sides(bt, np.moveaxis(tiles, (-2, -1), (0, 1)))


def transform_output(products: npt.NDArray[Any], output_tile: int, filter_size: int = FILTER_SIZE) -> FloatArray64:
    """Y = A^T M A, float64 `[..., m, m]`, of products `[alpha, alpha, ...]`."""
    at = transform_matrices(output_tile, filter_size).output_array
    return np.ascontiguousarray(np.moveaxis(_both_sides(at, products), (0, 1), (-2, -1)))


def input_tiles(x: npt.NDArray[Any], output_tile: int, *, padding: int, filter_size: int = FILTER_SIZE) -> FloatArray64:
    """Overlapping tiles `[N, C, tiles_y, tiles_x, alpha, alpha]`, float64, of images `[N, C, H, W]`.

    Tile (ty, tx) starts at row `ty * m - padding`; what lies outside of the image is zero. Tiles cover the whole
    output of a convolution of stride 1. Raises ValueError if that output is empty.
    """
    alpha = output_tile + filter_size - 1
    counts = []
    borders = []
    for size in x.shape[2:]:
        out = size + 2 * padding - filter_size + 1
        if out < 1:
            raise ValueError(f"a {filter_size}x{filter_size} filter does not fit an image of {size} with {padding=}")
        count = -(-out // output_tile)
        counts.append(count)
        borders.append((padding, count * output_tile + filter_size - 1 - size - padding))
    # With padding behind the last tile that no output needs, the border is negative: those rows are not looked at.
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *((before, max(0, after)) for before, after in borders)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (alpha, alpha), axis=(2, 3))
    tiles = windows[:, :, ::output_tile, ::output_tile][:, :, : counts[0], : counts[1]]
    return np.ascontiguousarray(tiles)


def winograd_convolution(
    x: npt.NDArray[Any], transformed: npt.NDArray[Any], *, output_tile: int, padding: int
) -> FloatArray64:
    """A whole layer of stride 1: float64 `[N, out, out_height, out_width]`, without bias and activation.

    x `[N, in, H, W]`; `transformed` U `[alpha, alpha, out, in]`, which need not be any filter's transform (weights
    pruned in the Winograd domain are not). Raises ValueError if U does not fit `output_tile` or the channels of x.
    """
    alpha = transform_matrices(output_tile).input_tile
    if transformed.shape[:2] != (alpha, alpha) or transformed.shape[3] != x.shape[1]:
        raise ValueError(
            f"U is {list(transformed.shape)}; F({output_tile}x{output_tile}, 3x3) on {x.shape[1]} channels needs "
            f"[{alpha}, {alpha}, out, {x.shape[1]}]"
        )
    tiles = input_tiles(x, output_tile, padding=padding)
    batch, channels, tiles_y, tiles_x = tiles.shape[:4]
    v = transform_input(tiles, output_tile).transpose(0, 1, 3, 2, 4, 5).reshape(alpha, alpha, channels, -1)
    products = transformed.astype(np.float64) @ v
    y = transform_output(products, output_tile)  # [out, N * tiles_y * tiles_x, m, m]
    y = y.reshape(-1, batch, tiles_y, tiles_x, output_tile, output_tile).transpose(1, 0, 2, 4, 3, 5)
    y = y.reshape(batch, -1, tiles_y * output_tile, tiles_x * output_tile)
    return np.ascontiguousarray(y[:, :, : x.shape[2] + 2 * padding - 2, : x.shape[3] + 2 * padding - 2])


def _both_sides(matrix: FloatArray64, values: npt.NDArray[Any]) -> FloatArray64:
    """`matrix @ values @ matrix^T` over the first two axes of `values`, `[i, j, ...]`, as a few large products."""
    first, second, *rest = values.shape
    flat = np.ascontiguousarray(values, np.float64).reshape(first, -1)
    left = (matrix @ flat).reshape(len(matrix), second, -1)
    both: FloatArray64 = np.matmul(matrix, left)
    return both.reshape(len(matrix), len(matrix), *rest)


def _powers(points: Sequence[Fraction], count: int) -> Matrix:
    """Rows `[a^0, ..., a^(count - 1)]` of every point, and of infinity, where only the highest coefficient counts."""
    rows = tuple(tuple(a**k for k in range(count)) for a in points)
    return (*rows, tuple(Fraction(int(k == count - 1)) for k in range(count)))


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the polynomial with these roots and highest coefficient 1."""
    coefficients = [Fraction(1)]
    for root in roots:
        raised = [Fraction(0), *coefficients]
        scaled = [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [high - low for high, low in zip(raised, scaled, strict=True)]
    return coefficients


def _padded(row: Sequence[Fraction], length: int) -> tuple[Fraction, ...]:
    return (*row, *[Fraction(0)] * (length - len(row)))


def _product(factors: Sequence[Fraction]) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _array(matrix: Matrix) -> FloatArray64:
    return np.array([[float(value) for value in row] for row in matrix])
