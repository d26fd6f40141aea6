"""How far float32 results may lie from the float64 reference: the one place that says so.

A sum of K products in float32, in any order and with or without fused multiply-adds, strays from the exact sum like a
random walk: about `sqrt(K)` roundings of the largest magnitude. The factor 4 leaves room for unlucky data, the constant
for what does not grow with K (activations, the final store).

Winograd convolution sums fewer products, but its transforms subtract large numbers from each other: its errors are
those of a direct sum times an amplification that follows from the norms of the transforms
(`clprune.winograd.error.amplification`). A random walk a times as wide is one of a^2 times as many steps.
"""

from __future__ import annotations

import math

FLOAT32_EPSILON = 2.0**-23


#: Smallest normal float32: a device may take anything smaller for zero (clprune.quirks.SUBNORMALS_FLUSHED).
SMALLEST_NORMAL = 2.0**-126


def absolute_tolerance(terms: int, *, largest: float) -> float:
    """Largest allowed |result - reference| where the largest |reference| is `largest`, each term flushed at worst."""
    return relative_tolerance(terms) * largest + terms * SMALLEST_NORMAL


def relative_tolerance(terms: int) -> float:
    """Largest allowed |result - reference| over the largest |reference|, for sums of `terms` products."""
    return FLOAT32_EPSILON * (16 + 4 * math.sqrt(terms))


def amplified_terms(terms: int, *, amplification: float) -> int:
    """As many products as stray like `terms` of them whose errors grow by the factor `amplification`."""
    return math.ceil(terms * amplification**2)
