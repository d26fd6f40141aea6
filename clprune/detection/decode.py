"""What the values of a head mean: boxes with a probability for each class, as each kind of head defines them.

Source: get_*_detections, get_*_boxes of yolo_layer.c, gaussian_yolo_layer.c, region_layer.c and detection_layer.c of
AlexeyAB/darknet, region_layer.c and tree.c of pjreddie/darknet. Numbers are rounded to float32 where darknet does.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds import heads
from clprune.darknet.kinds.base import Layer
from clprune.detection.options import DetectionOptions
from clprune.detection.tree import tree_probabilities
from clprune.errors import UsageError
from clprune.geometry import Shape

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Boxes of one image, in darknet's order.

    `boxes` float32 `[n, 4]`: centre x, centre y, width, height as shares of the network's input. `probabilities`
    float32 `[n, classes]`: 0 where the threshold is not exceeded.
    """

    boxes: FloatArray
    probabilities: FloatArray


@functools.singledispatch
def decode(head: Layer, values: FloatArray, network_input: Shape, options: DetectionOptions) -> Candidates:
    """The candidates in the output `values` `[C, H, W]` of `head`. Raises UsageError for a layer that is no head."""
    raise UsageError(f"{head} describes no boxes: expected a network that ends with [yolo], [region] or [detection]")


@decode.register
def _(head: heads.Yolo, values: FloatArray, network_input: Shape, options: DetectionOptions) -> Candidates:
    cells = _Cells.of(head, values, threshold=options.threshold)
    x, y, w, h = cells.values[:, :4].T
    factors = (w * w * np.float32(4), h * h * np.float32(4)) if head.new_coords else (_exponential(w), _exponential(h))
    width = factors[0] * cells.anchors[:, 0] / network_input.width
    height = factors[1] * cells.anchors[:, 1] / network_input.height
    return _candidates((*cells.place(x, y), width, height), cells.objectness[:, None] * cells.values[:, 5:], options)


@decode.register
def _(head: heads.GaussianYolo, values: FloatArray, network_input: Shape, options: DetectionOptions) -> Candidates:
    cells = _Cells.of(head, values, threshold=options.threshold)
    means, deviations = cells.values[:, 0:8:2].T, cells.values[:, 1:8:2]
    width = (_exponential(means[2]) * cells.anchors[:, 0] / network_input.width).astype(np.float32)
    height = (_exponential(means[3]) * cells.anchors[:, 1] / network_input.height).astype(np.float32)
    x, y = cells.place(means[0], means[1])
    corner = np.float32({"center": 0, "left_top": 0.5, "right_bottom": -0.5}[head.yolo_point])
    x, y = x + corner * width, y + corner * height
    certainty = 1.0 - deviations.mean(axis=1, keepdims=True, dtype=np.float32).astype(np.float64)
    probabilities = (cells.objectness[:, None] * cells.values[:, 9:] * certainty).astype(np.float32)
    return _candidates((x, y, width, height), probabilities, options)


@decode.register
def _(head: heads.Region, values: FloatArray, network_input: Shape, options: DetectionOptions) -> Candidates:
    # Values of classes as they come may exceed 1: then no cell can be left out beforehand.
    is_bounded = head.softmax or head.hierarchy is not None or head.class_function == "logistic"
    cells = _Cells.of(head, values, threshold=options.threshold if is_bounded else -np.inf)
    x, y, w, h = cells.values[:, :4].T
    width = _exponential(w) * cells.anchors[:, 0] / cells.width
    height = _exponential(h) * cells.anchors[:, 1] / cells.height
    classes = cells.values[:, 5:]
    if head.hierarchy is None:
        probabilities = cells.objectness[:, None] * classes
    else:
        probabilities = tree_probabilities(head.hierarchy, classes, cells.objectness, options)
    return _candidates((*cells.place(x, y), width, height), probabilities, options)


@decode.register
def _(head: heads.Detection, values: FloatArray, network_input: Shape, options: DetectionOptions) -> Candidates:
    cells, num = head.side**2, head.num
    classes, confidences, boxes = np.split(values.ravel(), [cells * head.classes, cells * (head.classes + num)])
    row, column = np.divmod(np.arange(cells).repeat(num), head.side)
    x, y, w, h = boxes.reshape(-1, 4).T
    if head.sqrt:
        w, h = w * w, h * h
    side = np.float32(head.side)
    of_cells = classes.reshape(cells, head.classes).repeat(num, axis=0)
    return _candidates(
        ((x + column.astype(np.float32)) / side, (y + row.astype(np.float32)) / side, w, h),
        confidences[:, None] * of_cells,
        options,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """The anchors of a grid of `height` x `width` cells whose objectness exceeds a threshold: `values` `[n, entries]`,
    `anchors` float32 `[n, 2]`, `objectness` `[n]`, and where they are.
    """

    values: FloatArray
    anchors: FloatArray
    objectness: FloatArray
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    height: int
    width: int

    @classmethod
    def of(cls, head: heads.AnchorHead, values: FloatArray, *, threshold: float) -> _Cells:
        _, height, width = values.shape
        planes = values.reshape(head.boxes, head.entries, height, width)
        objectness = planes[:, head.values.index("objectness")]
        rows, columns, numbers = np.nonzero(objectness.transpose(1, 2, 0) > np.float32(threshold))
        anchors = np.array(head.anchors, np.float32)
        if isinstance(head, heads.Yolo):
            anchors = anchors[list(head.mask)]
        return cls(
            values=planes[numbers, :, rows, columns],
            anchors=anchors[numbers],
            objectness=objectness[numbers, rows, columns],
            rows=rows,
            columns=columns,
            height=height,
            width=width,
        )

    def place(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """From places within the cells, in cells, to shares of the grid."""
        return (
            (self.columns.astype(np.float32) + x) / np.float32(self.width),
            (self.rows.astype(np.float32) + y) / np.float32(self.height),
        )


def _exponential(values: FloatArray) -> NDArray[np.float64]:
    """In double, as C's exp; overflow is infinity, which is found later."""
    with np.errstate(over="ignore"):
        result: NDArray[np.float64] = np.exp(values.astype(np.float64))
    return result


def _candidates(
    boxes: tuple[NDArray[np.floating], ...], probabilities: FloatArray, options: DetectionOptions
) -> Candidates:
    """Those with any probability above the threshold."""
    kept = np.where(probabilities > np.float32(options.threshold), probabilities, np.float32(0))
    some = kept.any(axis=1)
    with np.errstate(over="ignore"):
        stacked = np.stack([side[some] for side in boxes], axis=1).astype(np.float32)
    return Candidates(boxes=stacked, probabilities=kept[some])
