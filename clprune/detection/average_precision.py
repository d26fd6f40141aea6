"""How good detections are: average precision per class, and counts at one threshold.

A detection is right where the object of its class that it overlaps most, by an IoU of more than the least, was not
found by a surer one. The average precision is the area under precision over recall, precision being the best at that
recall or a higher one; or its mean at 11 (PascalVOC 2007) or 101 points (COCO). Source: validate_detector_map of
AlexeyAB's detector.c; Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.dataset import Truth
from clprune.detection.objects import Detection
from clprune.detection.suppression import overlap
from clprune.errors import UsageError

#: Points of recall at which precision is averaged; 0: the area under the whole curve.
POINTS = (0, 11, 101)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Of one class: how many `objects` there are, its `average_precision` (0 to 1, None where there are no objects),
    and right and wrong detections above the threshold.
    """

    name: str
    objects: int
    average_precision: float | None
    true_positives: int
    false_positives: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of all classes: `mean_iou` is that of the right detections above `threshold`, with 0 for the wrong ones."""

    iou: float
    threshold: float
    points: int
    detections: int
    mean_iou: float
    classes: tuple[ClassScore, ...]

    @property
    def objects(self) -> int:
        return sum(one.objects for one in self.classes)

    @property
    def true_positives(self) -> int:
        return sum(one.true_positives for one in self.classes)

    @property
    def false_positives(self) -> int:
        return sum(one.false_positives for one in self.classes)

    @property
    def precision(self) -> float:
        """Share of the detections above the threshold that are right; 0 without any."""
        return self.true_positives / max(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> float:
        """Share of the objects that are found above the threshold; 0 without any."""
        return self.true_positives / max(self.objects, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / ((self.precision + self.recall) or 1.0)

    @property
    def mean_average_precision(self) -> float:
        """Of the classes that have objects; 0 where none has."""
        found = [one.average_precision for one in self.classes if one.average_precision is not None]
        return sum(found) / max(len(found), 1)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        names = ("objects", "true_positives", "false_positives", "precision", "recall", "f1", "mean_average_precision")
        return {**vars(self), **{name: getattr(self, name) for name in names}, "classes": [*map(vars, self.classes)]}


def score(
    images: Iterable[tuple[Truth, Sequence[Detection]]],
    *,
    names: Sequence[str],
    iou: float = 0.5,
    threshold: float = 0.25,
    points: int = 0,
) -> Scores:
    """Scores of the detections of all images, which should be many more than those above `threshold`.

    A detection counts as right from more than `iou` on. Raises UsageError.
    """
    if points not in POINTS:
        raise UsageError(f"points {points}: expected one of {', '.join(map(str, POINTS))}")
    objects = np.zeros(len(names), np.int64)
    found = [np.empty((0, 4))]
    first = 0
    for truth, detections in images:
        objects += np.bincount(truth.classes[~truth.are_difficult], minlength=len(names))
        found.append(_matched(truth, detections, iou=iou, first=first))
        first += len(truth.classes)
    rows = np.concatenate(found)
    rows = rows[np.argsort(-rows[:, 1], kind="stable")]
    classes, ious = [], 0.0
    for number, name in enumerate(names):
        of_class = rows[rows[:, 0] == number]
        is_right, is_above = _are_first(of_class[:, 2]), of_class[:, 1] > threshold
        ious += float(of_class[is_right & is_above, 3].sum())
        classes.append(
            ClassScore(
                name=name,
                objects=int(objects[number]),
                average_precision=average_precision(is_right, objects=int(objects[number]), points=points),
                true_positives=int((is_right & is_above).sum()),
                false_positives=int((~is_right & is_above).sum()),
            )
        )
    count = sum(one.true_positives + one.false_positives for one in classes)
    return Scores(
        iou=iou, threshold=threshold, points=points, detections=len(rows), mean_iou=ious / max(count, 1),
        classes=tuple(classes),
    )  # fmt: skip


def average_precision(are_right: NDArray[np.bool_], *, objects: int, points: int = 0) -> float | None:
    """The average precision of detections that `are_right` or not, bool `[n]`, surest first; None without objects."""
    if objects == 0:
        return None
    right = np.cumsum(are_right)
    recall = np.concatenate([[0.0], right / objects])
    precision = np.concatenate([right / np.arange(1, len(right) + 1), [0.0]])
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if not points:
        return float((np.diff(recall) * best[:-1]).sum())
    at = np.arange(points) / (points - 1)
    return float(best[np.searchsorted(recall[1:], at)].mean())


def _matched(truth: Truth, detections: Sequence[Detection], *, iou: float, first: int) -> NDArray[np.float64]:
    """(class, confidence, number of the object or -1, IoU) of each detection `[n, 4]`, without those that only hit
    difficult objects. Objects of this image are counted from `first` on.
    """
    boxes = np.array([[one.center_x, one.center_y, one.width, one.height] for one in detections], np.float32)
    classes = np.array([one.class_index for one in detections], np.int64)
    best = np.zeros(len(detections), np.int64)
    best_share = np.zeros(len(detections), np.float32)
    is_near = np.zeros(len(detections), bool)
    for number in np.unique(truth.classes):
        of_class = np.flatnonzero(classes == number)
        others = boxes.reshape(-1, 4)[of_class]
        for row in np.flatnonzero(truth.classes == number):
            shares = overlap(truth.boxes[row], others)
            is_near[of_class] |= shares > np.float32(iou)
            is_better = shares > best_share[of_class]
            if not truth.are_difficult[row]:
                better = of_class[is_better]
                best[better], best_share[better] = row, shares[is_better]
    is_hit = best_share > np.float32(iou)
    kept = is_hit | ~is_near
    confidences = [one.confidence for one in detections]
    rows = [classes, confidences, np.where(is_hit, first + best, -1), np.where(is_hit, best_share, 0)]
    found: NDArray[np.float64] = np.stack([np.asarray(row, np.float64) for row in rows], axis=1)[kept]
    return found


def _are_first(found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which detections, surest first, are the first to find their object: `found` are the objects' numbers or -1."""
    _, firsts = np.unique(found, return_index=True)
    is_first = np.zeros(len(found), bool)
    is_first[firsts] = True
    return is_first & (found >= 0)
