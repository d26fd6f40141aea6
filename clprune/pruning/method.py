"""What a pruning method is: a name, and a pure function from a weight matrix to a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clprune.pruning.criterion import Matrix
from clprune.pruning.unit import Mask
from clprune.unit import Unit

TileRows = Literal["wavefront", "workgroup"]

#: What `bwsp` keeps equal: the lists of all row blocks, or only the matrices.
BALANCES = ("list", "matrix")


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What a mask depends on besides the weights.

    `unit` in rows x columns of the GEMM view, `sparsity` the share of weights that goes, `criterion` "l1" or "l2",
    `group_rows` the output channels of one group of a grouped convolution (None: one group).
    `parallel_tiles` row blocks run together and are balanced with each other (None: all of the layer; `bcbp` only).
    `vector_kept_share` is what the vector mask of `mixed` keeps of a vector (None: searched).

    Weights in the Winograd domain F(m x m, 3 x 3) come as `[alpha^2 * out, in]` with `winograd` m and `group_rows` the
    rows of one matrix; `balance` is what `bwsp` keeps equal, one of `BALANCES`.
    """

    unit: Unit
    sparsity: float
    criterion: str = "l1"
    group_rows: int | None = None
    parallel_tiles: int | None = None
    vector_kept_share: float | None = None
    winograd: int | None = None
    balance: str = "list"


@dataclass(frozen=True, kw_only=True)
class UnitRequest:
    """What a layer's unit depends on: `tile` (the unit that the tuned tile, or the user, asks for), the `columns` K of
    the layer's matrix, and the `sparsity` to be reached.
    """

    tile: Unit
    columns: int
    sparsity: float


def tile_unit(request: UnitRequest) -> Unit:
    """The tile's own unit: the answer of every method that removes columns of a tile."""
    return request.tile


def same_unit(unit: Unit) -> Unit:
    """What goes together is the unit itself."""
    return unit


@dataclass(frozen=True, kw_only=True)
class Method:
    """One pruning method. `mask(weights [M, K], options) -> bool [M, K]`, True where a weight stays.

    `unit_for` gives the unit that is written into the cfg; where the user asks for one of several columns it is kept.
    `removed_unit` tells which weights go together in such a unit (a vector-wise method removes single weights of it).
    `tile_rows` names the rows of the tuned kernel's declaration that make the unit. `criterion` is the method's own,
    which the user may replace. `removes_channels`: whole output channels go, and the network shrinks
    (`clprune.pruning.shrink`). `in_winograd_domain`: 3x3 convolutions of stride 1 are pruned as U (`clprune.pruning.
    winograd`), other layers by columns (`workgroup`).
    """

    name: str
    summary: str
    mask: Callable[[Matrix, MaskOptions], Mask]
    unit_for: Callable[[UnitRequest], Unit] = tile_unit
    removed_unit: Callable[[Unit], Unit] = same_unit
    tile_rows: TileRows = "wavefront"
    criterion: str = "l1"
    removes_channels: bool = False
    in_winograd_domain: bool = False
