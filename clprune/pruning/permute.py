"""Output channels in another order, so that rows with like patterns share a row block (OVW).

Known: Tan et al., NeurIPS 2022, "Accelerating Sparse Convolution with Column Vector-Wise Sparsity", prune V x 1
columns after permuting a layer's output channels so that those with like patterns share a block, and fold the
permutation into the next layer's input order: it costs nothing at run time.
Our choice: a balanced clustering without randomness. Rows are split again and again along their principal direction;
then pairs of rows change places while that makes blocks more alike, and then while it retains more of the norm. The
given order stays where nothing is gained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, convolution_matrix
from clprune.pruning.channels import Channels, channel_groups, select_channels
from clprune.pruning.criterion import Matrix, weight_powers
from clprune.pruning.unit import check_sparsity, keep_best, kept_count
from clprune.pruning.winograd import sensitivities, transformed
from clprune.unit import Unit

Features = NDArray[np.float32]
Sums = NDArray[np.float64]
Blocks = NDArray[np.int64]

#: Passes over all rows in search of exchanges; later ones find next to nothing.
MOST_ROUNDS = 4

#: Rows that each row is tried against: all of a small layer's, and of a large one's those that promise most.
MOST_PARTNERS = 48

#: Rows x columns x partners up to which exchanges are judged by the norm itself, which takes up to a minute.
LARGEST_SEARCH = 1 << 30

#: Steps towards a principal direction: it need not be exact to split rows by it.
POWER_STEPS = 12


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

    Layers whose channels are tied to others', or meet a convolution in groups or the answer, are left as they are.
    Raises UsageError.
    """
    orders: dict[int, Channels] = {}
    left: dict[int, str] = {}
    retained: dict[int, tuple[float, float]] = {}
    groups = channel_groups(network)
    for index, options in sorted(plan.items()):
        group, values = groups[index], weights.layers[index]
        others = [str(producer) for producer in group.producers if producer != index]
        obstacle = group.obstacle or (f"they are tied to those of layer {', '.join(others)}" if others else None)
        if obstacle is not None or options.unit.rows == 1 or values is None:
            left[index] = obstacle or "its unit has one row, for which the order does not matter"
            continue
        matrix = _rows_to_order(network, values, options, index)
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


def _rows_to_order(network: Network, values: LayerWeights, options: PruneOptions, index: int) -> Matrix:
    """What units are cut from, one row per output channel `[out, K]`: in the Winograd domain all of U_xi's columns."""
    if options.winograd is None:
        return convolution_matrix(values)
    u = transformed(network.layers[index], values, winograd=options.winograd).weights
    scaled = u * sensitivities(options.winograd)[:, :, None, None].astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1, 3)).reshape(len(values.biases), -1)


def row_order(weights: Matrix, *, unit: Unit, sparsity: float, criterion: str = "l1") -> Channels:
    """The old row at each new place, int64 `[M]`, for which pruning in units of `unit` retains more of the norm.

    `weights` `[M, K]` in one group. Rows rise within a block, and whole blocks by their first row. Raises UsageError.
    """
    check_sparsity(sparsity)
    features = _features(weights, unit=unit, criterion=criterion)
    rows = len(features)
    given_order = np.arange(rows)
    given = given_order // unit.rows
    if given[-1] == 0 or sparsity == 0:
        return given_order
    retained = _retained(features, given, sparsity=sparsity)
    blocks = _exchange_alike(features, _split_by_principal_directions(features, unit_rows=unit.rows))
    for start in (blocks, given) if features.size * min(rows, MOST_PARTNERS) <= LARGEST_SEARCH else ():
        blocks = _exchange_for_norm(features, start, sparsity=sparsity)
        if _retained(features, blocks, sparsity=sparsity) > retained:
            break
    if _retained(features, blocks, sparsity=sparsity) <= retained * (1 + 1e-9):
        return given_order
    return _as_order(blocks, unit_rows=unit.rows)


def retained_share(weights: Matrix, *, unit: Unit, sparsity: float, criterion: str = "l1") -> float:
    """The share of the norm (L1: of magnitudes, L2: of squares) that one threshold over the units retains."""
    features = _features(weights, unit=unit, criterion=criterion)
    total = float(features.sum(dtype=np.float64))
    blocks = np.arange(len(features)) // unit.rows
    return _retained(features, blocks, sparsity=sparsity) / total if total > 0 else 1.0


def _features(weights: Matrix, *, unit: Unit, criterion: str) -> Features:
    """What each row adds to the norm of the units of its row block: float32 `[M, column blocks]`."""
    starts = np.arange(0, weights.shape[1], unit.columns)
    features = np.empty((len(weights), len(starts)), np.float32)
    for row, values in zip(features, weights, strict=True):
        # one row at a time: a float64 copy of a connected layer would be near a gigabyte
        row[:] = np.add.reduceat(weight_powers(values, criterion=criterion), starts)
    return features


def _kept_units(features: Features, blocks: Blocks, *, sparsity: float) -> tuple[NDArray[np.bool_], Sums]:
    """(which units one threshold keeps, the units' sums), both `[row blocks, column blocks]`."""
    count = int(blocks.max()) + 1
    order = np.argsort(blocks, kind="stable")
    sizes = np.bincount(blocks, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(features[order], starts, axis=0, dtype=np.float64)
    kept = keep_best(sums / sizes[:, None], count=kept_count(sums.size, sparsity=sparsity))
    return kept, sums


def _retained(features: Features, blocks: Blocks, *, sparsity: float) -> float:
    kept, sums = _kept_units(features, blocks, sparsity=sparsity)
    return float(sums[kept].sum())


def _exchange_alike(features: Features, blocks: Blocks) -> Blocks:
    """Exchange pairs of rows as long as blocks become more alike: less variance of the rows within them.

    Works on the inner products of rows only, so that it is quick for the largest layers.
    """
    blocks = blocks.copy()
    centred = features - features.mean(axis=0)
    products = (centred @ centred.T).astype(np.float64)
    affinity = np.stack([products[:, blocks == block].sum(axis=1) for block in range(int(blocks.max()) + 1)], axis=1)
    squares = products.diagonal()
    rows = np.arange(len(blocks))
    smallest = 1e-9 * float(squares.max())
    for _ in range(MOST_ROUNDS):
        exchanged = False
        for row in rows:
            block = blocks[row]
            gains = affinity[row, blocks] - affinity[row, block] + squares[row] - 2 * products[row]
            gains += affinity[:, block] - affinity[rows, blocks] + squares
            gains[blocks == block] = 0
            other = int(np.argmax(gains))
            if gains[other] > smallest:
                change = products[:, other] - products[:, row]
                affinity[:, block] += change
                affinity[:, blocks[other]] -= change
                blocks[row], blocks[other] = blocks[other], block
                exchanged = True
        if not exchanged:
            break
    return blocks


def _exchange_for_norm(features: Features, blocks: Blocks, *, sparsity: float) -> Blocks:
    """Exchange pairs of rows as long as more of the norm lies above the threshold that decides which units stay."""
    blocks = blocks.copy()
    for _ in range(MOST_ROUNDS):
        kept, sums = _kept_units(features, blocks, sparsity=sparsity)
        sizes = np.bincount(blocks)
        floors = float((sums / sizes[:, None])[kept].min()) * sizes[:, None]
        above = np.maximum(sums - floors, 0).sum(axis=1)
        gains_of_kept = features @ kept.T.astype(np.float32)
        exchanged = False
        for row in range(len(blocks)):
            block = blocks[row]
            others = _partners(gains_of_kept, blocks, row=row)
            theirs = blocks[others]
            moved = features[others] - features[row]
            mine = np.maximum(sums[block] + moved - floors[block], 0).sum(axis=1)
            other = np.maximum(sums[theirs] - moved - floors[theirs], 0).sum(axis=1)
            gains = mine + other - above[block] - above[theirs]
            best = int(np.argmax(gains))
            if gains[best] > 1e-6 * above[block]:
                sums[block] += moved[best]
                sums[theirs[best]] -= moved[best]
                above[block], above[theirs[best]] = mine[best], other[best]
                blocks[row], blocks[others[best]] = theirs[best], block
                exchanged = True
        if not exchanged:
            break
    return blocks


def _partners(gains: Features, blocks: Blocks, *, row: int) -> NDArray[np.int64]:
    """The rows of other blocks with which an exchange promises most, were the columns to stay as they are.

    `gains` float32 `[M, row blocks]`: what each row retains in each block.
    """
    own = gains[np.arange(len(blocks)), blocks]
    promises = gains[:, blocks[row]] + gains[row, blocks] - own
    promises[blocks == blocks[row]] = -np.inf
    count = min(MOST_PARTNERS, int(np.isfinite(promises).sum()))
    best: NDArray[np.int64] = np.argpartition(-promises, count - 1)[:count]
    return np.sort(best)


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
