"""The boxes that heads describe, as ONNX operators: decoded as `clprune.detection.decode` has it, then suppressed.

Inside, values lie as `[N, cells, boxes of a cell, ...]`, cells row by row: darknet's order.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clprune.darknet.kinds import heads
from clprune.darknet.kinds.base import Layer
from clprune.darknet.network import Network
from clprune.detection.options import DetectionOptions
from clprune.detection.suppression import distance_power
from clprune.errors import UnsupportedLayerError
from clprune.exchange.graph import Graph
from clprune.geometry import Shape

#: Outputs of a file with boxes -> the shape of one entry, of which there is one for each object: its box (centre x and
#: y, width, height) as shares of the network's input, its confidence, its class, and its image's place in the batch.
BOX_OUTPUTS = {"boxes": (4,), "confidences": (), "class_indices": (), "image_indices": ()}


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Tensors of one head: `centers` and `sides` `[N, cells, boxes, 2]`, `probabilities` `[N, cells, boxes, classes]`;
    `count` is cells x boxes.
    """

    centers: str
    sides: str
    probabilities: str
    count: int


def write_boxes(network: Network, graph: Graph, tensors: Mapping[int, str], options: DetectionOptions) -> None:
    """Add all that makes `BOX_OUTPUTS` of the outputs of the heads. Raises UnsupportedLayerError.

    ONNX suppresses by the IoU alone; objects are in its order: by image, class, confidence.
    """
    layers = network.output_layers
    if distance_power(layers, options) is not None:
        raise UnsupportedLayerError(
            f"{network.path}: {layers[-1]} suppresses boxes by DIoU (nms_kind={getattr(layers[-1], 'nms_kind', '')}), "
            "ONNX by IoU alone: expected dialect hank-ai, which goes by the IoU, or no boxes"
        )
    found = []
    for layer in layers:
        graph.scope = f"boxes_{layer.index}"
        found.append(_candidates(layer, graph, tensors[layer.index], network.input))
    boxes, probabilities = [], []
    for head in found:
        joined = graph.add("Concat", head.centers, head.sides, axis=3)
        boxes.append(graph.reshape(joined, head.count, 4))
        probabilities.append(graph.reshape(head.probabilities, head.count, -1))
    graph.scope = "boxes"
    all_boxes = graph.add("Concat", *boxes, axis=1)
    scores = graph.add("Transpose", graph.add("Concat", *probabilities, axis=1), perm=[0, 2, 1])
    count = graph.integers(sum(head.count for head in found))
    limits = graph.number(options.nms or 1.0), graph.number(options.threshold)
    selected = graph.add("NonMaxSuppression", all_boxes, scores, count, *limits, center_point_box=1)
    image, class_index, box = graph.split(selected, (1, 1, 1), axis=1)
    graph.add("GatherND", all_boxes, graph.add("Concat", image, box, axis=1), output="boxes")
    graph.add("GatherND", scores, selected, output="confidences")
    for values, output in ((class_index, "class_indices"), (image, "image_indices")):
        graph.add("Squeeze", values, graph.integers(1), output=output)


@functools.singledispatch
def _candidates(head: Layer, graph: Graph, x: str, network_input: Shape) -> Candidates:
    """What the output `x` of `head` says."""
    raise UnsupportedLayerError(f"{head} describes no boxes: expected a detector, which ends with [yolo] for instance")


@_candidates.register
def _(head: heads.Yolo, graph: Graph, x: str, network_input: Shape) -> Candidates:
    return _anchored(head, graph, _parts(head, graph, x, (2, 2, 1, head.classes)), unit=network_input)


@_candidates.register
def _(head: heads.GaussianYolo, graph: Graph, x: str, network_input: Shape) -> Candidates:
    x, dx, y, dy, w, dw, h, dh, objectness, classes = _parts(head, graph, x, (*9 * (1,), head.classes))
    centers, sides = (graph.add("Concat", *pair, axis=3) for pair in ((x, y), (w, h)))
    certainty = graph.add("Sub", graph.number(1), graph.add("Mean", dx, dy, dw, dh))
    parts = (centers, sides, graph.add("Mul", objectness, certainty), classes)
    found = _anchored(head, graph, parts, unit=network_input)
    corner = {"center": 0.0, "left_top": 0.5, "right_bottom": -0.5}[head.yolo_point]
    moved = graph.add("Add", found.centers, graph.add("Mul", found.sides, graph.number(corner)))
    return replace(found, centers=moved)


@_candidates.register
def _(head: heads.Region, graph: Graph, x: str, network_input: Shape) -> Candidates:
    if head.hierarchy is not None:
        raise UnsupportedLayerError(f"{head} chooses from a tree of classes: expected plain ones, or no boxes")
    return _anchored(head, graph, _parts(head, graph, x, (2, 2, 1, head.classes)), unit=head.output)


@_candidates.register
def _(head: heads.Detection, graph: Graph, x: str, network_input: Shape) -> Candidates:
    cells, num = head.side**2, head.num
    sizes = (cells * head.classes, cells * num, cells * num * 4)
    classes, confidences, boxes = graph.split(graph.vector(x), sizes, axis=1)
    probabilities = graph.add(
        "Mul", graph.reshape(confidences, cells, num, 1), graph.reshape(classes, cells, 1, head.classes)
    )
    centers, sides = graph.split(graph.reshape(boxes, cells, num, 4), (2, 2), axis=3)
    return Candidates(
        centers=_placed(graph, centers, height=head.side, width=head.side),
        sides=graph.add("Mul", sides, sides) if head.sqrt else sides,
        probabilities=probabilities,
        count=cells * num,
    )


def _parts(head: heads.AnchorHead, graph: Graph, x: str, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """The output of a head of a grid, its entries apart."""
    cells = head.output.height * head.output.width
    planes = graph.reshape(x, head.boxes, head.entries, cells)
    return graph.split(graph.add("Transpose", planes, perm=[0, 3, 1, 2]), sizes, axis=3)


def _anchored(head: heads.AnchorHead, graph: Graph, parts: Sequence[str], *, unit: Shape) -> Candidates:
    """Boxes of (centres, sides, objectness, classes) with anchors in pixels of `unit`."""
    centers, sides, objectness, classes = parts
    mask = list(head.mask) if isinstance(head, heads.Yolo) else list(range(head.num))
    anchors = np.array(head.anchors, np.float32)[mask] / np.array([unit.width, unit.height], np.float32)
    if isinstance(head, heads.Yolo) and head.new_coords:
        factors = graph.add("Mul", graph.add("Mul", sides, sides), graph.number(4))
    else:
        factors = graph.add("Exp", sides)
    height, width = head.output.height, head.output.width
    return Candidates(
        centers=_placed(graph, centers, height=height, width=width),
        sides=graph.add("Mul", factors, graph.constant(anchors[None, None])),
        probabilities=graph.add("Mul", objectness, classes),
        count=height * width * head.boxes,
    )


def _placed(graph: Graph, centers: str, *, height: int, width: int) -> str:
    """From places within the cells, in cells, to shares of the grid."""
    rows, columns = np.divmod(np.arange(height * width), width)
    cells = np.stack([columns, rows], axis=1).astype(np.float32).reshape(1, -1, 1, 2)
    sides = graph.constant(np.array([width, height], np.float32))
    return graph.add("Div", graph.add("Add", centers, graph.constant(cells)), sides)
