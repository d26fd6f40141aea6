"""Output channels in another order, so that rows with like patterns share a row block (OVW).

Known: Tan et al., NeurIPS 2022, "Accelerating Sparse Convolution with Column Vector-Wise Sparsity", prune V x 1
columns after permuting a layer's output channels so that those with like patterns share a block, and fold the
permutation into the next layer's input order: it costs nothing at run time.
Our choice: a balanced clustering without randomness. Rows are first split again and again along their principal
direction; then, in turns, each block chooses its columns and pairs of rows change places while that retains more of the
norm. The given order is refined in the same way, and what retains most wins; the given order stays where nothing
is gained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.layers import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights, convolution_matrix
from clprune.pruning.channels import Channels, channel_flow, select_channels
from clprune.pruning.criterion import Matrix, weight_powers
from clprune.pruning.unit import check_sparsity, keep_best, kept_count
from clprune.tile import Unit

Features = NDArray[np.float64]
Blocks = NDArray[np.int64]

MOST_ROUNDS = 20
"""Turns of choosing columns and exchanging rows; few layers need more than ten."""

POWER_STEPS = 12
"""Steps towards a principal direction: it need not be exact to split rows by it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Permutation:
    """A network's weights with the channels of some layers in another order; its function is the same.

    `orders` maps layer index -> the old channel at each new place (int64). `left` maps the other layers of the plan to
    the reason why they are as they were. `retained` maps each permuted layer to the shares of its norm that pruning in
    units would retain (before, after).
    """

    weights: Weights
    orders: Mapping[int, Channels]
    left: Mapping[int, str]
    retained: Mapping[int, tuple[float, float]]


def permute_network(
    network: Network, weights: Weights, plan: Mapping[int, PruneOptions], *, criterion: str = "l1"
) -> Permutation:
    """Reorder the output channels of the layers of `plan` for their units, and the inputs of all that read them.

    Layers whose channels meet a route, a shortcut, a grouped convolution or the answer are left as they are. Raises
    UsageError.
    """
    orders: dict[int, Channels] = {}
    left: dict[int, str] = {}
    retained: dict[int, tuple[float, float]] = {}
    for index, options in sorted(plan.items()):
        flow = channel_flow(network, index)
        values = weights.layers[index]
        if flow.obstacle is not None or options.unit.rows == 1 or values is None:
            left[index] = flow.obstacle or "its unit has one row, for which the order does not matter"
            continue
        matrix = convolution_matrix(values)
        order = row_order(matrix, unit=options.unit, sparsity=options.sparsity, criterion=criterion)
        given = np.arange(len(order))
        shares = tuple(
            retained_share(matrix[rows], unit=options.unit, sparsity=options.sparsity, criterion=criterion)
            for rows in (given, order)
        )
        if (order == given).all():
            left[index] = "no other order retains more"
            continue
        orders[index], retained[index] = order, (shares[0], shares[1])
        weights = select_channels(network, weights, {index: order})
    return Permutation(weights=weights, orders=orders, left=left, retained=retained)


def row_order(weights: Matrix, *, unit: Unit, sparsity: float, criterion: str = "l1") -> Channels:
    """The old row at each new place, int64 `[M]`, for which pruning in units of `unit` retains more of the norm.

    `weights` `[M, K]` in one group. Rows rise within a block, and whole blocks by their first row. Raises UsageError.
    """
    check_sparsity(sparsity)
    features = _features(weights, unit=unit, criterion=criterion)
    rows = len(features)
    given = np.arange(rows) // unit.rows
    if given[-1] == 0 or sparsity == 0:
        return np.arange(rows)
    starts = (given, _split_by_principal_directions(features, unit_rows=unit.rows))
    refined = [_refine(features, blocks, sparsity=sparsity) for blocks in starts]
    gains = [_retained(features, blocks, sparsity=sparsity) for blocks in (given, *refined)]
    best = int(np.argmax(gains))
    if best == 0 or gains[best] <= gains[0] * (1 + 1e-9):
        return np.arange(rows)
    return _as_order(refined[best - 1], unit_rows=unit.rows)


def retained_share(weights: Matrix, *, unit: Unit, sparsity: float, criterion: str = "l1") -> float:
    """The share of the norm (L1: of magnitudes, L2: of squares) that one threshold over the units retains."""
    features = _features(weights, unit=unit, criterion=criterion)
    total = float(features.sum())
    blocks = np.arange(len(features)) // unit.rows
    return _retained(features, blocks, sparsity=sparsity) / total if total > 0 else 1.0


def _features(weights: Matrix, *, unit: Unit, criterion: str) -> Features:
    """What each row adds to the norm of the units of its row block: float64 `[M, column blocks]`."""
    starts = np.arange(0, weights.shape[1], unit.columns)
    powers = weight_powers(weights, criterion=criterion)
    return powers if unit.columns == 1 else np.add.reduceat(powers, starts, axis=1)


def _kept_units(features: Features, blocks: Blocks, *, sparsity: float) -> tuple[NDArray[np.bool_], Features]:
    """(which units one threshold keeps, the units' sums), both `[row blocks, column blocks]`."""
    count = int(blocks.max()) + 1
    order = np.argsort(blocks, kind="stable")
    sizes = np.bincount(blocks, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(features[order], starts, axis=0)
    kept = keep_best(sums / sizes[:, None], count=kept_count(sums.size, sparsity=sparsity))
    return kept, sums


def _retained(features: Features, blocks: Blocks, *, sparsity: float) -> float:
    kept, sums = _kept_units(features, blocks, sparsity=sparsity)
    return float(sums[kept].sum())


def _refine(features: Features, blocks: Blocks, *, sparsity: float) -> Blocks:
    """Choose columns and exchange rows in turns, as long as more is retained."""
    best, most = blocks, _retained(features, blocks, sparsity=sparsity)
    for _ in range(MOST_ROUNDS):
        kept, _ = _kept_units(features, best, sparsity=sparsity)
        candidate = _exchange(features @ kept.T.astype(features.dtype), best)
        found = _retained(features, candidate, sparsity=sparsity)
        if found <= most * (1 + 1e-9):
            break
        best, most = candidate, found
    return best


def _exchange(gains: Features, blocks: Blocks) -> Blocks:
    """Exchange pairs of rows between blocks, the most profitable first, until none gains.

    `gains` `[M, row blocks]`: what a row would retain in each block; `blocks` int64 `[M]`: where it is.
    """
    blocks = blocks.copy()
    members = [list(np.flatnonzero(blocks == block)) for block in range(gains.shape[1])]
    moves = gains - gains[np.arange(len(blocks)), blocks][:, None]
    best = np.stack([moves[rows].max(axis=0) for rows in members])
    smallest = 1e-9 * max(float(np.abs(gains).max()), 1e-300)
    for _ in range(4 * len(blocks)):
        pairs = best + best.T
        np.fill_diagonal(pairs, -np.inf)
        first, second = divmod(int(np.argmax(pairs)), len(members))
        if pairs[first, second] <= smallest:
            break
        one = members[first][int(np.argmax(moves[members[first], second]))]
        other = members[second][int(np.argmax(moves[members[second], first]))]
        members[first][members[first].index(one)] = other
        members[second][members[second].index(other)] = one
        blocks[one], blocks[other] = second, first
        for row in (one, other):
            moves[row] = gains[row] - gains[row, blocks[row]]
        for block in (first, second):
            best[block] = moves[members[block]].max(axis=0)
    return blocks


def _split_by_principal_directions(features: Features, *, unit_rows: int) -> Blocks:
    """Row blocks of `unit_rows` (the last may be smaller): halves of halves along each part's principal direction."""
    blocks = np.empty(len(features), np.int64)
    waiting, number = [np.arange(len(features))], 0
    while waiting:
        rows = waiting.pop()
        if len(rows) <= unit_rows:
            blocks[rows] = number
            number += 1
            continue
        ranked = rows[np.argsort(_principal_scores(features[rows]), kind="stable")]
        half = max(len(rows) // (2 * unit_rows), 1) * unit_rows
        waiting += [ranked[half:], ranked[:half]]  # the first half is taken next, so that the partial block comes last
    return blocks


def _principal_scores(part: Features) -> Features:
    """Where each row lies along the direction in which the rows differ most (power iteration): float64 `[rows]`."""
    centred = part - part.mean(axis=0)
    scores: Features = centred @ centred[int(np.argmax((centred**2).sum(axis=1)))]
    for _ in range(POWER_STEPS):
        norm = float(np.linalg.norm(scores))
        if norm == 0:
            break
        scores = centred @ (centred.T @ (scores / norm))
    return scores


def _as_order(blocks: Blocks, *, unit_rows: int) -> Channels:
    """Rows by block; blocks by their first row, the one that is not full last."""
    groups = [np.flatnonzero(blocks == block) for block in range(int(blocks.max()) + 1)]
    groups.sort(key=lambda rows: (len(rows) < unit_rows, int(rows[0])))
    return np.concatenate(groups).astype(np.int64)
