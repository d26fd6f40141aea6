"""How much rounding errors grow on their way through the transforms: what `--max-error` and the tolerances go by.

Model (ours; the same sums as in Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for
Deep Neural Networks", ACM TOMS 2020, taken for independent roundings in place of the worst case): data and filters of
independent values with unit variance. Position j of the 1-D Winograd domain then holds products of variance
|G_j|^2 |B_j|^2 per channel (rows of G and B^T), each rounded with a relative error of about eps, and output i sums them
with the factors AT_ij. Direct convolution sums r products of variance 1. The ratio

    amplification_1d(m)^2 = max_i sum_j AT_ij^2 |G_j|^2 |B_j|^2 / r

says by how much larger than direct convolution's the errors are, relative to the outputs; a 2-D transform squares it.
"""

from __future__ import annotations

import functools
import math

from clprune.winograd.transforms import FILTER_SIZE, transform_matrices

#: Distance from 1 to the next float32: twice the largest relative error of one rounding.
EPSILON = 2.0**-23


@functools.cache
def amplification(output_tile: int) -> float:
    """Growth of rounding errors in F(m x m, 3 x 3) over those of direct convolution: 1.7 for m = 2, 31 for m = 4."""
    transforms = transform_matrices(output_tile)
    filters = [sum(value * value for value in row) for row in transforms.G]
    inputs = [sum(value * value for value in row) for row in transforms.BT]
    sums = (
        sum(factor * factor * g * b for factor, g, b in zip(row, filters, inputs, strict=True)) for row in transforms.AT
    )
    return float(max(sums) / FILTER_SIZE)


def expected_error(output_tile: int, channels: int) -> float:
    """Relative error to expect of a layer with `channels` input channels: the largest |difference| to float64 over the
    largest |output|, for data and weights of unit variance.

    A sum of C products strays like a random walk of C steps; the constant is ours, such that every layer of VGG16 stays
    a little below (docs/results/winograd_error.md).
    """
    return EPSILON * amplification(output_tile) * max(1.0, math.sqrt(channels) / 4)
