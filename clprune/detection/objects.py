"""`Detection`: one object in an image; and all of them out of what a network's heads gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.network import Network
from clprune.detection.decode import Candidates, FloatArray, decode
from clprune.detection.options import DetectionOptions
from clprune.detection.suppression import distance_power, sorted_as_darknet, suppress
from clprune.errors import ClpruneError
from clprune.image import scaled_size

#: AlexeyAB's darknet shows no class whose name begins so.
_HIDDEN = "dont_show"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """An object in an image: its class, how sure that is (0 to 1), and its box.

    Coordinates are shares of the image's width and height; a box may reach beyond the image.
    """

    class_index: int
    name: str
    confidence: float
    center_x: float
    center_y: float
    width: float
    height: float

    def corners(self, *, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels of an image of that size."""
        left, top = (self.center_x - self.width / 2) * width, (self.center_y - self.height / 2) * height
        return left, top, left + self.width * width, top + self.height * height


def find_objects(
    network: Network,
    outputs: Sequence[FloatArray],
    *,
    names: Sequence[str],
    size: tuple[int, int],
    options: DetectionOptions,
) -> list[Detection]:
    """The objects of one image, best first unless `options` say otherwise, of `outputs`: float32 `[C, H, W]` of each
    output layer of `network`.

    `size` is the image's (height, width) in pixels. Raises UsageError for a network without heads, and ClpruneError
    for outputs or boxes that are not finite.
    """
    found = [
        decode(head, values, network.input, options)
        for head, values in zip(network.output_layers, outputs, strict=True)
    ]
    candidates = Candidates(
        boxes=np.concatenate([part.boxes for part in found]),
        probabilities=np.concatenate([part.probabilities for part in found]),
    )
    if not all(np.isfinite(values).all() for values in (*outputs, candidates.boxes)):
        raise ClpruneError(f"{network.path}: an answer is not finite")
    power = distance_power(network.output_layers, options)
    boxes = _in_image(candidates.boxes, network, size=size, options=options)
    scale = np.array((*size[::-1], *size[::-1]) if options.in_pixels else 1, np.float32)
    placed = Candidates(boxes=boxes * scale, probabilities=candidates.probabilities)
    kept = suppress(placed, threshold=options.nms, distance_power=power)
    rows, classes = np.nonzero(kept)
    if options.in_order:
        places = np.argsort(sorted_as_darknet(candidates.probabilities))  # of each box in that order
        order = np.lexsort((classes, places[rows]))
    else:
        order = np.argsort(-kept[rows, classes], kind="stable")
    return [
        _detection(int(number), names[number], float(kept[row, number]), boxes[row])
        for row, number in zip(rows[order], classes[order], strict=True)
        if not names[number].startswith(_HIDDEN)
    ]


def _in_image(boxes: FloatArray, network: Network, *, size: tuple[int, int], options: DetectionOptions) -> FloatArray:
    """From shares of the network's input to shares of the image that was made to fit it (correct_yolo_boxes)."""
    height, width = network.input.height, network.input.width
    shown = scaled_size(*size, height=height, width=width, resize=options.resize_for(network))
    sides: NDArray[np.float64] = np.array([width, height], np.float64)
    scaled: NDArray[np.float64] = np.array(shown[::-1], np.float64)
    ratios = (scaled / sides).astype(np.float32)
    centres = (boxes[:, :2] - (sides - scaled) / 2 / sides) / ratios
    return np.concatenate([centres, boxes[:, 2:] * (1 / ratios)], axis=1).astype(np.float32)


def _detection(class_index: int, name: str, confidence: float, box: FloatArray) -> Detection:
    x, y, width, height = box.tolist()
    return Detection(
        class_index=class_index, name=name, confidence=confidence, center_x=x, center_y=y, width=width, height=height
    )
