"""What a pruning method is: a name, and a pure function from a weight matrix to a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clprune.pruning.criterion import Matrix
from clprune.pruning.unit import Mask
from clprune.tile import Unit


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What a mask depends on besides the weights.

    `unit` in rows x columns of the GEMM view, `sparsity` the share of units that goes, `criterion` "l1" or "l2",
    `group_rows` the output channels of one group of a grouped convolution (None: one group).
    """

    unit: Unit
    sparsity: float
    criterion: str = "l1"
    group_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """One pruning method. `mask(weights [M, K], options) -> bool [M, K]`, True where a weight stays.

    `unit_for(tile_unit)` is the unit that the method really removes when the tuned tile asks for `tile_unit`.
    """

    name: str
    summary: str
    mask: Callable[[Matrix, MaskOptions], Mask]
    unit_for: Callable[[Unit], Unit]
