"""Masks drawn by hand, and those of a method for one matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest
from clprune.pruning.options import Options
from clprune.pruning.registry import get_method
from clprune.pruning.unit import Mask, check_sparsity
from clprune.unit import Unit


def bits(*rows: str) -> NDArray[np.bool_]:
    """A mask from one text per row, `#` where a weight stays."""
    return np.array([[character == "#" for character in row] for row in rows])


def matrix(*rows: str) -> NDArray[np.float32]:
    """A weight matrix from one text of numbers per row."""
    return np.array([[float(word) for word in row.split()] for row in rows], np.float32)


def mask_for(
    method: str,
    weights_2d: Matrix,
    *,
    unit: Unit,
    sparsity: float,
    criterion: str | None = None,
    group_rows: int | None = None,
    winograd: int | None = None,
    options: Options | None = None,
) -> Mask:
    """The mask of one layer in the GEMM view; without a `criterion` or `options` those of the method."""
    chosen = get_method(method)
    check_sparsity(sparsity)
    request = MaskRequest(
        unit=unit,
        sparsity=sparsity,
        criterion=criterion or chosen.criterion,
        group_rows=group_rows,
        winograd=winograd,
        options=chosen.options() if options is None else options,
    )
    return chosen.mask(weights_2d, request)
