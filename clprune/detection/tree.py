"""Which class of a tree a box holds, as YOLO9000 has them. Source: region_layer.c of AlexeyAB/darknet and of
pjreddie/darknet, tree.c.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.tree import Tree
from clprune.detection.options import DetectionOptions

FloatArray = NDArray[np.float32]

#: AlexeyAB's darknet goes down to the last class that is likelier than this.
_LIKELY = 0.5


def tree_probabilities(tree: Tree, shares: FloatArray, objectness: FloatArray, options: DetectionOptions) -> FloatArray:
    """Probability of each class float32 `[n, classes]` of boxes of `objectness` `[n]`, from the `shares` `[n, classes]`
    that classes have of their groups.

    With a `class_map` those of its classes, objectness times all shares down to them; without one class of each box:
    AlexeyAB's darknet takes the last likely one with its own probability, pjreddie's goes down from the root as long as
    `hierarchy` is exceeded and takes the objectness.
    """
    absolute = shares.copy()
    starts = [0, *itertools.accumulate(tree.group_sizes)]
    for start, end in itertools.pairwise(starts):
        if tree.parents[start] >= 0:
            absolute[:, start:end] *= absolute[:, tree.parents[start], None]
    if options.class_map:
        mapped: FloatArray = objectness[:, None] * absolute[:, list(options.class_map)]
        return mapped
    chosen = np.zeros_like(shares)
    if options.dialect == "pjreddie":
        for row, values in enumerate(absolute):
            chosen[row, _top(tree, starts, values, options.hierarchy)] = objectness[row]
        return chosen
    is_likely = absolute > _LIKELY
    rows = np.flatnonzero(is_likely.any(axis=1))
    last = shares.shape[1] - 1 - is_likely[rows, ::-1].argmax(axis=1)
    chosen[rows, last] = absolute[rows, last]
    return chosen


def _top(tree: Tree, starts: list[int], values: FloatArray, least: float) -> int:
    """pjreddie's hierarchy_top_prediction: it multiplies probabilities that are products already."""
    below = {tree.parents[start]: number for number, start in enumerate(starts[:-1])}
    probability, group = 1.0, 0
    while True:
        best = starts[group] + int(values[starts[group] : starts[group + 1]].argmax())
        if probability * values[best] <= least:
            return best if group == 0 else tree.parents[starts[group]]
        probability *= float(values[best])
        if best not in below:
            return best
        group = below[best]
