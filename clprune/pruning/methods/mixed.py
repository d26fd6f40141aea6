"""`mixed`: a fine vector mask AND a coarse block mask.

Known: Guo et al., ISQED 2021 (10.1109/ISQED51717.2021.9424299), keep what both a vector-wise fine-grained and a
block-wise coarse-grained mask keep, mix them heuristically, and use no regulariser.
Our choice: the unit is a block; each of its rows is a vector. The vector mask keeps the same number of largest weights
in every vector, the block mask the blocks of largest norm; both see the unpruned weights. How the wanted density is
split is searched: every number of weights per vector that leaves work for both masks is tried, with as many blocks as
reach the density, and the split that retains most of the criterion's norm wins. `vector_kept_share` fixes it instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.criterion import Matrix, weight_powers
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.options import Options, option
from clprune.pruning.segments import mask_segments
from clprune.pruning.unit import Mask, UnitGrid, check_sparsity, keep_best
from clprune.unit import Unit

BLOCK_COLUMNS = 16


@dataclass(frozen=True, kw_only=True)
class MixedOptions(Options):
    """How the density is split between the masks."""

    vector_kept_share: float | None = option(
        None, above=0, most=1,
        help="what the vector mask keeps of each vector; the block mask does the rest. Default: searched.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Split:
    """`vector_kept` weights of each vector and `block_kept` blocks; together they retain `retained_share` of the
    layer's norm (L1: of the sum of magnitudes, L2: of the sum of squares).
    """

    vector_kept: int
    block_kept: int
    retained_share: float


def search_splits(weights: Matrix, request: MaskRequest) -> tuple[Split, ...]:
    """Every split of the density into vector and block mask that is tried, by rising `vector_kept`.

    `weights` `[M, K]`. Where no split leaves work for both masks (a density near 1, blocks of one column) there is one
    that leaves it to the blocks. Raises UsageError.
    """
    request = _fitted(weights, request)
    grid = _blocks(weights, request)
    length, density = request.unit.columns, 1 - request.sparsity
    order = np.argsort(-grid.scores(weights, criterion=request.criterion).reshape(-1), kind="stable")
    sums, total = _sums_of_best(weights, grid, criterion=request.criterion)
    splits = []
    for vector_kept in _candidates(request):
        left = _weights_left(grid, length=length, kept=vector_kept).reshape(-1)[order]
        block_kept = int(np.argmin(np.abs(np.cumsum(left) - density * weights.size))) + 1
        retained = float(sums[:, :, vector_kept - 1].reshape(-1)[order[:block_kept]].sum())
        retained_share = retained / total if total > 0 else 1.0
        splits.append(Split(vector_kept=vector_kept, block_kept=block_kept, retained_share=retained_share))
    return tuple(splits)


def best_split(splits: Sequence[Split]) -> Split:
    """The split that retains most; of equal ones the first, which keeps more blocks."""
    return max(splits, key=lambda split: split.retained_share)


def vector_mask(weights: Matrix, request: MaskRequest, *, kept: int) -> Mask:
    """Keep the `kept` largest weights of each 1 x `request.unit.columns` vector, of a shorter last one its share."""
    length = _fitted(weights, request).unit.columns
    return mask_segments(
        weights,
        unit=Unit(rows=1, columns=length),
        kept_of=lambda width: _kept_of(width, length=length, kept=kept),
        criterion=request.criterion,
    )


def block_mask(weights: Matrix, request: MaskRequest, *, kept: int) -> Mask:
    """Keep the `kept` blocks of `request.unit` of largest norm: bool `[M, K]`."""
    grid = _blocks(weights, request)
    return grid.expand(keep_best(grid.scores(weights, criterion=request.criterion), count=kept))


def mask_mixed(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep what the vector mask AND the block mask of the best split keep: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. Raises UsageError.
    """
    split = best_split(search_splits(weights, request))
    blocks = block_mask(weights, request, kept=split.block_kept)
    return blocks & vector_mask(weights, request, kept=split.vector_kept)


def _fitted(weights: Matrix, request: MaskRequest) -> MaskRequest:
    """The request with a block that is no wider than the matrix."""
    columns = min(request.unit.columns, weights.shape[1])
    return replace(request, unit=Unit(rows=request.unit.rows, columns=columns))


def _blocks(weights: Matrix, request: MaskRequest) -> UnitGrid:
    rows, columns = weights.shape
    return UnitGrid.cut(rows=rows, columns=columns, unit=request.unit, group_rows=request.group_rows)


def _candidates(request: MaskRequest) -> Sequence[int]:
    """Weights per whole vector that are tried. Raises UsageError."""
    check_sparsity(request.sparsity)
    length, share = request.unit.columns, request.options.vector_kept_share
    density = 1 - request.sparsity
    if share is not None:
        # fewer than the density asks for could not be made up by keeping every block
        return (min(max(round(share * length), int(np.ceil(density * length))), length),)
    fewest = int(np.floor(density * length)) + 1
    return range(fewest, length) if fewest < length else (length,)


def _kept_of(width: int, *, length: int, kept: int) -> int:
    return kept if width == length else max(round(kept * width / length), 1)


def _weights_left(grid: UnitGrid, *, length: int, kept: int) -> NDArray[np.int64]:
    """Weights of each block that the vector mask keeps: int64 `[row blocks, column blocks]`."""
    heights = np.diff(grid.row_starts, append=grid.rows)
    widths = np.diff(grid.column_starts, append=grid.columns)
    of_vectors = np.array([_kept_of(int(width), length=length, kept=kept) for width in widths], np.int64)
    left: NDArray[np.int64] = np.outer(heights, of_vectors)
    return left


def _sums_of_best(weights: Matrix, grid: UnitGrid, *, criterion: str) -> tuple[NDArray[np.float64], float]:
    """(sum over a block's vectors of their 1, 2, ... best weights: float64 `[row blocks, column blocks, length]`, and
    the sum of all weights), of magnitudes or squares as the criterion has it.
    """
    widths = np.diff(grid.column_starts, append=grid.columns)
    length = int(widths[0])
    sums = np.empty((len(grid.row_starts), len(widths), length))
    ends = np.append(grid.row_starts[1:], grid.rows)
    total = 0.0
    for block, (start, end) in enumerate(zip(grid.row_starts, ends, strict=True)):
        padded = np.zeros((end - start, len(widths) * length))
        padded[:, : grid.columns] = weight_powers(weights[start:end], criterion=criterion)
        total += float(padded.sum())
        vectors = -np.sort(-padded.reshape(end - start, len(widths), length), axis=2)
        sums[block] = np.cumsum(vectors.sum(axis=0), axis=1)
    rest = int(widths[-1])
    if rest < length:
        kept = [_kept_of(rest, length=length, kept=count) - 1 for count in range(1, length + 1)]
        sums[:, -1] = sums[:, -1][:, kept]
    return sums, total


def _block(request: UnitRequest) -> Unit:
    tile = request.tile
    return tile if tile.columns > 1 else Unit(rows=tile.rows, columns=min(BLOCK_COLUMNS, request.columns))


def _single_weight(unit: Unit) -> Unit:
    return Unit(rows=1)


METHOD = Method(
    name="mixed",
    summary="a fine vector mask AND a coarse block mask, the split searched",
    mask=mask_mixed,
    options=MixedOptions,
    unit_for=_block,
    removed_unit=_single_weight,
)
