"""Non-maximum suppression, class by class: of boxes that overlap, the surest stays.

Source: box_iou, box_diou, do_nms_sort and diounms_sort of AlexeyAB's box.c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds import heads
from clprune.darknet.kinds.base import Layer
from clprune.detection.decode import Candidates, FloatArray
from clprune.detection.options import DetectionOptions


def suppress(candidates: Candidates, *, threshold: float, distance_power: float | None = None) -> FloatArray:
    """The probabilities float32 `[n, classes]` with 0 for every box that a surer one of the class overlaps by more than
    `threshold`; of equal ones the earlier is surer. A threshold of 0 suppresses nothing.

    The overlap is the IoU, less with a `distance_power` the squared distance of the centres over the squared diagonal
    of both, to that power (DIoU).
    """
    kept: FloatArray = candidates.probabilities.copy()
    if threshold == 0:
        return kept
    for number in np.flatnonzero(kept.any(axis=0)):
        of_class = kept[:, number]
        waiting = np.flatnonzero(of_class)
        waiting = waiting[np.argsort(-of_class[waiting], kind="stable")]
        while len(waiting) > 1:
            surest, others = waiting[0], waiting[1:]
            overlaps = overlap(candidates.boxes[surest], candidates.boxes[others], distance_power=distance_power)
            is_over = overlaps > np.float32(threshold)
            of_class[others[is_over]] = 0
            waiting = others[~is_over]
    return kept


def sorted_as_darknet(probabilities: FloatArray) -> NDArray[np.intp]:
    """The order in which darknet's suppression leaves boxes, of `[n, classes]` before it: it sorts them by one class
    after the other.
    """
    order = np.arange(len(probabilities))
    for of_class in probabilities.T:
        order = order[np.argsort(-of_class[order], kind="stable")]
    return order


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # as in C
def overlap(box: FloatArray, boxes: FloatArray, *, distance_power: float | None = None) -> FloatArray:
    """How much `box` `[4]` overlaps each of `boxes` `[n, 4]`, float32 `[n]`: see `suppress`."""
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    lows, highs = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0)
    common = sides[:, 0] * sides[:, 1]
    shares: FloatArray = common / (box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - common)
    if distance_power is None:
        return shares
    diagonal = ((np.maximum(high, highs) - np.minimum(low, lows)) ** 2).sum(axis=1)
    distance = ((box[:2] - boxes[:, :2]) ** 2).sum(axis=1)
    penalty = np.where(diagonal == 0, 0, (distance / diagonal).astype(np.float64) ** distance_power)
    shares -= penalty.astype(np.float32)
    return shares


def distance_power(layers: Sequence[Layer], options: DetectionOptions) -> float | None:
    """Which overlap counts for the heads of a network: that of the last one. None is the plain IoU.

    Only AlexeyAB's darknet looks at `nms_kind`: its `greedynms` has a power of its own, `diounms` takes `beta_nms`.
    """
    head = next((layer for layer in reversed(layers) if isinstance(layer, heads.AnchorHead)), None)
    if not isinstance(head, heads.Yolo) or options.dialect != "alexeyab":
        return None
    return {"greedynms": 0.6, "diounms": head.beta_nms}.get(head.nms_kind)
