"""Which detection finds which object, as COCO's evaluation has it: pycocotools does it a pair at a time in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The IoU that is enough, where one of 1 is asked for.
_NEARLY_ONE = 1 - 1e-10


def evaluate_image(
    evaluation: Any, image: int, category: int, area: tuple[float, float], most: int
) -> dict[str, Any] | None:
    """What COCOeval.evaluateImg gives of one image and category for objects of an `area`, and the `most` sure
    detections: those keys of it that `accumulate` reads. None where there is neither an object nor a detection.
    """
    objects, detections = evaluation._gts[image, category], evaluation._dts[image, category]
    if not objects and not detections:
        return None
    sizes = np.array([one["area"] for one in objects], np.float64)
    are_left = np.array([bool(one["ignore"]) for one in objects], bool) | (sizes < area[0]) | (sizes > area[1])
    order = np.argsort(are_left, kind="stable")
    detections = sorted(detections, key=lambda one: -one["score"])[:most]
    shares = np.asarray(evaluation.ious[image, category], np.float64)
    shares = shares[:, order] if len(shares) else np.zeros((len(detections), len(objects)))
    thresholds, are_left = np.minimum(evaluation.params.iouThrs, _NEARLY_ONE), are_left[order]
    are_crowds = np.array([bool(one["iscrowd"]) for one in objects], bool)[order]
    numbers = np.array([one["id"] for one in objects], np.float64)[order]
    matches, are_ignored = np.zeros((2, len(thresholds), len(detections)))
    for row, threshold in enumerate(thresholds):
        is_free = np.ones(len(objects), bool)
        for column in range(len(detections)):
            found = _best(np.where(is_free, shares[column], -1.0), are_left, threshold)
            if found is not None:
                matches[row, column], are_ignored[row, column] = numbers[found], are_left[found]
                # an object whose finder has the number 0 stays free, as in pycocotools
                is_free[found] = are_crowds[found] or detections[column]["id"] <= 0
    others = np.array([not area[0] <= one["area"] <= area[1] for one in detections], bool)
    return {
        "dtMatches": matches, "dtScores": [one["score"] for one in detections], "gtIgnore": are_left.astype(int),
        "dtIgnore": (are_ignored > 0) | ((matches == 0) & others),
    }  # fmt: skip


def _best(shares: NDArray[np.float64], are_left: NDArray[np.bool_], threshold: float) -> int | None:
    """The object with the largest share, the last of equal ones, from `threshold` on: those that are left out come
    into question where no other does.
    """
    for part in (~are_left, are_left):
        of_part = np.where(part, shares, -1.0)
        if len(of_part) and of_part.max() >= threshold:
            return len(of_part) - 1 - int(of_part[::-1].argmax())
    return None
