"""What ONNX operators become that change no value: nothing, values elsewhere, borders, copies of neighbours.

Source: https://onnx.ai/onnx/operators, versions 7 to 23.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from onnx import NodeProto

from clprune.errors import UsageError
from clprune.exchange.feature import LOWEST, ZERO, Feature
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, Array, attributes_of, evaluate

MOVES = Operators()


@MOVES.of("Identity", "Dropout", "Cast")
def _identity(importer: Importer, node: NodeProto) -> Feature:
    if node.op_type == "Cast" and attributes_of(node).get("to") not in (1, 10, 11, 16):
        raise UsageError("makes whole numbers of a tensor: expected float")
    return importer.feature(node)


@MOVES.of(
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "DepthToSpace",
    "SpaceToDepth",
)  # fmt: skip
def _move(importer: Importer, node: NodeProto) -> list[Feature]:
    feature = importer.feature(node)
    others = [importer.constant(node, index) for index in range(1, len(node.input))]
    if node.op_type == "Gather" and others[0] is not None and others[0].size * feature.places.size > MAX_VALUES:
        raise UsageError(f"makes a tensor of more than {MAX_VALUES} values")
    results = evaluate(node, [feature.places, *others], opset=importer.opset)
    return [moved(feature, places) for places in results]


def moved(feature: Feature, places: Array) -> Feature:
    """The tensor with its values elsewhere, its own ways out with them."""
    if places.ndim < 1 or places.shape[0] != 1 or 0 in places.shape:
        raise UsageError(f"makes a tensor {list(places.shape)} of one image: expected [1, ...]")
    return replace(feature, places=places.astype(np.int32), otherwise=None)


@MOVES.of("Pad")
def _pad(importer: Importer, node: NodeProto) -> Feature:
    feature = importer.applied(importer.feature(node))
    pads, rank = importer.option(node, "pads", 1, []), feature.places.ndim
    value = np.min(importer.option(node, "value", 2, 0.0))
    is_constant = attributes_of(node).get("mode", "constant") == "constant"
    kind = {0.0: ZERO, -np.inf: LOWEST}.get(float(value)) if is_constant else None
    if len(node.input) > 3 or len(pads) != 2 * rank or min(pads) < 0 or kind is None:
        raise UsageError("is supported with a border of zeros or -inf, said for all axes, only")
    widths = list(zip(pads[:rank], pads[rank:], strict=True))
    if math.prod(side + sum(width) for side, width in zip(feature.places.shape, widths, strict=True)) > MAX_VALUES:
        raise UsageError(f"makes a tensor of more than {MAX_VALUES} values")
    return replace(feature, places=np.pad(feature.places, widths, constant_values=kind))


@MOVES.of("Resize", "Upsample")
def _resize(importer: Importer, node: NodeProto) -> Feature:
    """Nearest neighbour where every value becomes stride x stride of it."""
    attributes, sides = attributes_of(node), importer.feature(node).places.shape
    index = 1 if node.op_type == "Upsample" or len(node.input) == 2 else 2
    scales = importer.option(node, "scales", index) or None
    sizes = importer.option(node, "sizes", 3)
    if scales is None:
        scales = [size / side for size, side in zip(sizes or [], sides, strict=False)]
    nearest = attributes.get("nearest_mode", "round_prefer_floor")
    way = attributes.get("coordinate_transformation_mode", "half_pixel")
    is_copy = (
        node.op_type == "Upsample"
        or (way, nearest) == ("asymmetric", "floor")
        or (way in ("half_pixel", "pytorch_half_pixel") and nearest.startswith("round"))
        or (way == "asymmetric" and nearest == "round_prefer_floor" and scales[-1] == 2)
        or importer.opset < 11
    )
    is_whole = len(scales) == 4 and scales[:2] == [1, 1] and scales[2] == scales[3] == int(scales[3])
    if attributes.get("mode", "nearest") != "nearest" or not is_copy or not is_whole:
        found = f"{attributes.get('mode', 'nearest')}, {way}, {nearest}, scales {scales}"
        raise UsageError(f"is {found}: expected nearest neighbours and a whole number of times")
    layer = importer.planes(importer.feature(node))
    return importer.delivered(importer.sketch.add("upsample", layer, stride=int(scales[3])))
