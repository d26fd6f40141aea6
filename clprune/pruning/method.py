"""What a pruning method is: a name, a pure function from a weight matrix to a mask, and what else sets it apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from clprune.darknet.values import LayerWeights, unit_matrix
from clprune.pruning.criterion import Matrix
from clprune.pruning.imbalance import Counts, imbalance
from clprune.pruning.options import NO_OPTIONS, Options
from clprune.pruning.unit import Mask
from clprune.pruning.variants import Selection
from clprune.unit import Unit

TileRows = Literal["wavefront", "workgroup"]


@dataclass(frozen=True, kw_only=True)
class MaskRequest:
    """What a mask depends on besides the weights.

    `unit` in rows x columns of the GEMM view, `sparsity` the share of weights that goes, `criterion` "l1" or "l2",
    `group_rows` the output channels of one group of a grouped convolution (None: one group), `options` the method's
    own. Weights in the Winograd domain F(m x m, 3 x 3) come as `[alpha^2 * out, in]` with `winograd` m and `group_rows`
    the rows of one matrix.
    """

    unit: Unit
    sparsity: float
    criterion: str = "l1"
    group_rows: int | None = None
    winograd: int | None = None
    options: Any = NO_OPTIONS


@dataclass(frozen=True, kw_only=True)
class UnitRequest:
    """What a layer's unit depends on: `tile` (the unit that the tuned tile, or the user, asks for), the `columns` K of
    the layer's matrix and the `rows` of one of its groups or matrices, the `sparsity` to be reached, and the method's
    own `options`.
    """

    tile: Unit
    rows: int
    columns: int
    sparsity: float
    options: Any = NO_OPTIONS


def tile_unit(request: UnitRequest) -> Unit:
    """The tile's own unit: the answer of every method that removes columns of a tile."""
    return request.tile


def same_unit(unit: Unit) -> Unit:
    """What goes together is the unit itself."""
    return unit


def cleared(values: LayerWeights, mask: Mask, options: Options = NO_OPTIONS) -> LayerWeights:
    """The same values with zeros where the mask says so, as float32; biases and batch normalization stay."""
    pruned = unit_matrix(values).copy()
    np.copyto(pruned, np.float32(0), where=~mask)
    return replace(values, weights=pruned.reshape(values.weights.shape), coding=None)


def counted_imbalance(weights: Matrix, counts: Counts, request: MaskRequest) -> tuple[float, None]:
    """What the row blocks' `counts` of columns say, as if all ran together; nothing was balanced."""
    return imbalance(counts), None


@dataclass(frozen=True, kw_only=True)
class Method:
    """One pruning method. `mask(weights [M, K], request) -> bool [M, K]`, True where a weight stays.

    `options` is the class of its own options, from which the command line's come; one that extends `WinogradOptions`
    makes it a method of the Winograd domain: 3x3 convolutions of stride 1 are pruned as U (`clprune.pruning.winograd`),
    other layers by the method `elsewhere` (None: by this one). `unit_for` gives the unit that is written into the cfg;
    where the user asks for one of several columns it is kept. `removed_unit` tells which weights go together in such a
    unit (a vector-wise method removes single weights of it). `tile_rows` names the rows of the tuned kernel's
    declaration that make the unit. `criterion` is the method's own, which the user may replace. `remove` makes a
    layer's values of those that come in and the mask. `imbalance` tells how unevenly the row blocks are loaded and how
    they were before the method balanced them (None: it does not; see `clprune.pruning.imbalance`), from the layer's
    weights before pruning, the columns that each row block keeps, and what was asked. `removes_channels`: whole output
    channels go, and the network shrinks (`clprune.pruning.shrink`). `has_unit_rows`: how many rows a unit has makes a
    difference. `selection`: each layer is pruned by one of several other methods.
    """

    name: str
    summary: str
    mask: Callable[[Matrix, MaskRequest], Mask]
    options: type[Options] = Options
    unit_for: Callable[[UnitRequest], Unit] = tile_unit
    removed_unit: Callable[[Unit], Unit] = same_unit
    tile_rows: TileRows = "wavefront"
    criterion: str = "l1"
    remove: Callable[[LayerWeights, Mask, Any], LayerWeights] = cleared
    imbalance: Callable[[Matrix, Counts, MaskRequest], tuple[float, float | None]] = counted_imbalance
    removes_channels: bool = False
    has_unit_rows: bool = True
    elsewhere: Method | None = None
    selection: Selection | None = None

    def own_options(self, options: Options) -> Options:
        """`options` where they are this method's, else its defaults."""
        return options if isinstance(options, self.options) else self.options()
