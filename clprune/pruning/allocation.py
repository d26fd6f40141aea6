"""How a target for the whole network is shared among its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.pruning.unit import UnitGrid, check_sparsity

#: A global threshold takes no more than this share of one layer's units; a layer without weights ends the network.
MOST_OF_A_LAYER = 0.98

_ALLOCATIONS = ("uniform", "global", "erdos-renyi")


def allocate(
    allocation: str, *, grids: Sequence[UnitGrid], scores: Callable[[], Sequence[NDArray[np.float64]]], sparsity: float
) -> tuple[float, ...]:
    """The sparsity of each layer, so that all of them together reach `sparsity`.

    `grids` and what `scores` returns (as `UnitGrid.scores` gives them) belong to the layers in turn. "uniform" gives
    every layer the target; "global" removes the least important units of the whole network, wherever they are;
    "erdos-renyi" keeps more of layers that have few weights (`erdos_renyi`). Raises UsageError.
    """
    check_sparsity(sparsity)
    if allocation not in _ALLOCATIONS:
        raise UsageError(f"allocation {allocation!r}: expected one of {', '.join(_ALLOCATIONS)}")
    if allocation == "uniform" or not grids:
        return (sparsity,) * len(grids)
    if allocation == "erdos-renyi":
        return erdos_renyi([(grid.rows, grid.columns) for grid in grids], sparsity=sparsity)
    return _by_global_threshold(grids, scores(), sparsity=sparsity)


def erdos_renyi(shapes: Sequence[tuple[int, int]], *, sparsity: float) -> tuple[float, ...]:
    """The sparsity of each layer whose matrix has (rows, columns): all together lose `sparsity` of their weights.

    What a layer keeps grows with rows + columns, not with their product (Mocanu et al. 2018, "Scalable training of
    artificial neural networks with adaptive sparse connectivity"; Evci et al. 2020, "Rigging the lottery", which also
    counts a kernel's sides apart): layers of few weights, through which everything passes, stay denser. A layer that
    would keep more than all stays whole, and the others make up for it.
    """
    sizes = [rows * columns for rows, columns in shapes]
    whole: set[int] = set()
    while True:
        rest = [number for number in range(len(shapes)) if number not in whole]
        kept = (1 - sparsity) * sum(sizes) - sum(sizes[number] for number in whole)
        factor = kept / max(sum(sum(shapes[number]) for number in rest), 1)
        shares = {number: factor * sum(shapes[number]) / sizes[number] for number in rest}
        over = {number for number, share in shares.items() if share > 1}
        if not over:
            return tuple(max(1 - shares.get(number, 1.0), 0.0) for number in range(len(shapes)))
        whole |= over


def _by_global_threshold(
    grids: Sequence[UnitGrid], scores: Sequence[NDArray[np.float64]], *, sparsity: float
) -> tuple[float, ...]:
    candidates, sizes, owners = [], [], []
    for layer, (grid, layer_scores) in enumerate(zip(grids, scores, strict=True)):
        # layers differ in the scale of their weights (initialisation divides by the fan-in), which says nothing about
        # importance: each layer's scores are measured against their own mean. Our choice.
        mean = float(layer_scores.mean())
        relative = layer_scores.reshape(-1) / (mean if mean > 0 else 1.0)
        order = np.argsort(relative, kind="stable")[: int(MOST_OF_A_LAYER * grid.units)]
        candidates.append(relative[order])
        sizes.append(grid.sizes.reshape(-1)[order])
        owners.append(np.full(len(order), layer))
    order = np.argsort(np.concatenate(candidates), kind="stable")
    target = sparsity * sum(grid.rows * grid.columns for grid in grids)
    removed = order[np.cumsum(np.concatenate(sizes)[order]) <= target]
    counts = np.bincount(np.concatenate(owners)[removed], minlength=len(grids))
    return tuple(int(count) / grid.units for count, grid in zip(counts, grids, strict=True))
