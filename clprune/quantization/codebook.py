"""Non-linear quantization: one table of k-means centroids per layer.

The centroids minimise the squared error of the non-zero weights (Lloyd's algorithm), begun at equal distances between
the smallest and the largest: "linear initialization" of Han et al. 2016 ("Deep compression", section 3.2), which keeps
the few large weights represented. Ours: zeros get entry 0 of the table, 0.0, for themselves, so that what was pruned
stays exactly zero and no other weight joins it; and Lloyd's steps run on a histogram of the weights, so that a layer
of 100 million weights takes seconds. In one dimension clusters are intervals: a step is a search of their bounds in the
histogram and differences of prefix sums. A weight's cluster is that of its bin's middle; the sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.quantization.coding import CODEBOOK_ENTRIES, CodebookCoding, check_finite

BINS = 1 << 16
MAX_STEPS = 300
MAX_SPLITS = 20
CHUNK = 1 << 22  # weights that are looked at together, so that temporary arrays stay small


def codebook_coding(weights: NDArray[np.float32], *, name: str, bits: int) -> CodebookCoding:
    """Codes and centroids of float32 `weights` of any shape; `bits` is 4 or 8.

    Entries that no weight needs are 0.0 at the table's end. `name` is the layer's for errors. Raises UsageError for
    NaN and infinities, and for other `bits`.
    """
    if 1 << bits not in CODEBOOK_ENTRIES:
        raise UsageError(f"{bits} bits for a codebook: expected 4 or 8")
    check_finite(weights, name=name)
    flat = np.ascontiguousarray(weights).reshape(-1)
    codebook = np.zeros(1 << bits, np.float32)
    codes = np.zeros(flat.shape, np.uint8)
    first = int(np.count_nonzero(flat) < flat.size)  # entry 0 is taken where there are zeros
    histogram = _histogram(flat)
    if histogram is not None:
        centroids, cluster_of_bin = cluster(histogram, clusters=len(codebook) - first)
        codebook[first : first + len(centroids)] = centroids
        code_of_bin = (cluster_of_bin + first).astype(np.uint8)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            codes[start : start + CHUNK] = np.where(part == 0, np.uint8(0), code_of_bin[histogram.bins_of(part)])
    return CodebookCoding(codes=codes.reshape(weights.shape), codebook=codebook)


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """`counts` and `sums` (both float64) of values in equally wide bins from `lowest` to `highest`."""

    lowest: float
    highest: float
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]

    def bins_of(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """The bin of each value; what lies outside counts to the nearest bin."""
        return _bins_of(values, lowest=self.lowest, highest=self.highest, bins=len(self.counts))


def _bins_of(values: NDArray[np.float32], *, lowest: float, highest: float, bins: int) -> NDArray[np.int64]:
    width = (highest - lowest) / bins
    if width == 0:
        return np.zeros(values.shape, np.int64)
    places = (values.astype(np.float64) - lowest) / width
    return np.clip(places, 0, bins - 1).astype(np.int64)


def _histogram(flat: NDArray[np.float32]) -> Histogram | None:
    """That of the values that are not zero, None where there are none."""
    lowest, highest = np.inf, -np.inf
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        part = part[part != 0]
        if part.size:
            lowest, highest = min(lowest, float(part.min())), max(highest, float(part.max()))
    if lowest > highest:
        return None
    counts, sums = np.zeros(BINS), np.zeros(BINS)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        part = part[part != 0]
        places = _bins_of(part, lowest=lowest, highest=highest, bins=BINS)
        counts += np.bincount(places, minlength=BINS)
        sums += np.bincount(places, weights=part, minlength=BINS)
    return Histogram(lowest=lowest, highest=highest, counts=counts, sums=sums)


def cluster(histogram: Histogram, *, clusters: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(centroids, rising; the cluster of each bin): `clusters` of them, fewer where there are fewer filled bins.

    Lloyd's steps until no bound moves. A cluster that stays empty, such as those that begin in the gap that magnitude
    pruning leaves around zero, is given to the clusters of the largest squared error, which are split (ours).
    """
    filled = np.flatnonzero(histogram.counts)
    counts, sums = histogram.counts[filled], histogram.sums[filled]
    bins = _Bins(
        means=sums / counts, counts=_prefix(counts), sums=_prefix(sums), squares=_prefix(sums * (sums / counts))
    )
    clusters = min(clusters, len(filled))
    centroids = bins.settle(np.linspace(bins.means[0], bins.means[-1], clusters))
    for _ in range(MAX_SPLITS):
        if len(centroids) == clusters:
            break
        centroids = bins.settle(bins.split(centroids, more=clusters - len(centroids)))
    cluster_of_bin = np.zeros(len(histogram.counts), np.int64)
    cluster_of_bin[filled] = np.repeat(np.arange(len(centroids)), np.diff(bins.bounds(centroids)))
    return centroids.astype(np.float32), cluster_of_bin


def _prefix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bins:
    """Filled bins: their `means`, rising, and prefix sums of `counts`, `sums` and `squares`, one entry longer."""

    means: NDArray[np.float64]
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    def bounds(self, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
        """Cluster k has the bins `bounds[k]` to `bounds[k + 1]`: those whose means are nearest to its centroid."""
        ends = np.searchsorted(self.means, (centroids[:-1] + centroids[1:]) / 2)
        return np.concatenate([[0], ends, [len(self.means)]]).astype(np.int64)

    def settle(self, centroids: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lloyd's steps from `centroids`, rising; clusters that end empty are left out."""
        bounds = self.bounds(centroids)
        for _ in range(MAX_STEPS):
            before = bounds
            held = np.diff(self.counts[bounds]) > 0
            # an empty cluster keeps its place: its neighbours' values may come nearer
            centroids = np.sort(np.where(held, self._means(bounds), centroids))
            bounds = self.bounds(centroids)
            if np.array_equal(before, bounds):
                break
        held = np.diff(self.counts[bounds]) > 0
        return np.asarray(self._means(bounds)[held])

    def split(self, centroids: NDArray[np.float64], *, more: int) -> NDArray[np.float64]:
        """Replace each of the `more` clusters of the largest squared error by two, a deviation apart."""
        bounds = self.bounds(centroids)
        members = np.diff(self.counts[bounds])
        errors = np.maximum(np.diff(self.squares[bounds]) - members * centroids**2, 0)
        errors[np.diff(bounds) < 2] = 0
        worst = np.argsort(-errors, kind="stable")[:more]
        worst = worst[errors[worst] > 0]
        deviations = np.sqrt(errors[worst] / members[worst])
        halves = (centroids[worst] - deviations / 2, centroids[worst] + deviations / 2)
        return np.sort(np.concatenate([np.delete(centroids, worst), *halves]))

    def _means(self, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.diff(self.sums[bounds]) / np.maximum(np.diff(self.counts[bounds]), 1)
