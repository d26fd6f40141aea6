"""Precisions in which products may be computed, and how far their results may stray. Sums are float32 in any case."""

from __future__ import annotations

from collections.abc import Mapping

FLOAT32, TF32, FLOAT16 = "float32", "tf32", "float16"

#: From exact to coarse.
PRECISIONS = (FLOAT32, TF32, FLOAT16)

#: Largest error of a layer, relative to its largest result, that rounding its weights and inputs so may cause. Both
#: keep 11 significant bits: each product strays by up to 2^-10 and half of that as a rule, sums of many by less.
PRECISION_ERRORS: Mapping[str, float] = {FLOAT32: 0.0, TF32: 1e-3, FLOAT16: 1e-3}
