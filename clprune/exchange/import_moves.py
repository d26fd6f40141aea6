"""What ONNX operators become that change no value: nothing, values elsewhere, borders, copies of neighbours.

Source: https://onnx.ai/onnx/operators, versions 7 to 23.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from clprune.darknet.resample import COORDINATES, ROUNDING, TAPS, Resampling
from clprune.errors import UsageError
from clprune.exchange.feature import LOWEST, ZERO, Feature
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.parts import add_pad
from clprune.exchange.read import MAX_VALUES, Array, attributes_of, evaluate, largest_result
from clprune.geometry import Shape

MOVES = Operators()


@MOVES.of("Identity", "Dropout", "Cast")
def _identity(importer: Importer, node: NodeProto) -> Feature:
    if node.op_type == "Cast" and attributes_of(node).get("to") not in (1, 10, 11, 16):
        raise UsageError("makes whole numbers of a tensor: expected float")
    return importer.feature(node)


@MOVES.of(
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "DepthToSpace",
    "SpaceToDepth", "Expand",
)  # fmt: skip
def _move(importer: Importer, node: NodeProto) -> list[Feature]:
    feature = importer.feature(node)
    others = [importer.constant(node, index) for index in range(1, len(node.input))]
    given = [value for value in (feature.places, *others) if value is not None]
    if node.op_type in ("Gather", "Expand") and largest_result(node.op_type, given, {}) > MAX_VALUES:
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
    mode, value = attributes_of(node).get("mode", "constant"), float(np.min(importer.option(node, "value", 2, 0.0)))
    widths = _pad_widths(importer, node, feature)
    kind = {0.0: ZERO, -np.inf: LOWEST}.get(value) if mode == "constant" else None
    if kind is not None:
        kept = tuple(
            slice(max(-before, 0), side - max(-after, 0))
            for side, (before, after) in zip(feature.places.shape, widths, strict=True)
        )
        around = [(max(before, 0), max(after, 0)) for before, after in widths]
        return replace(feature, places=np.pad(feature.places[kept], around, constant_values=kind))
    known = {"constant": "zeros", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in known or len(widths) != 4 or any(map(any, widths[:2])) or not np.isfinite(value):
        raise UsageError(f"is {mode} around axes {widths}: expected one of {', '.join(known)}, of rows and columns")
    layer, (top, bottom), (left, right) = importer.planes(feature), *widths[2:]
    if mode == "constant":
        layer = importer.affine(layer, 1.0, -value)
    layer = add_pad(importer.sketch, layer, (top, left, bottom, right), known[mode])
    return importer.delivered(importer.affine(layer, 1.0, value) if mode == "constant" else layer)


def _pad_widths(importer: Importer, node: NodeProto, feature: Feature) -> list[tuple[int, int]]:
    """(before, after) of each axis. Raises UsageError for what cannot be."""
    pads, sides = importer.option(node, "pads", 1, importer.option(node, "paddings", 1, [])), feature.places.shape
    axes = [axis % len(sides) for axis in importer.option(node, "axes", 3, range(len(sides)))]
    if len(pads) != 2 * len(axes) or max(map(abs, pads), default=0) > MAX_VALUES:
        raise UsageError(f"has pads={pads}: expected {2 * len(axes)}")
    given = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    widths = [given.get(axis, (0, 0)) for axis in range(len(sides))]
    made = [side + sum(width) for side, width in zip(sides, widths, strict=True)]
    if min(made) < 1 or widths[0] != (0, 0) or math.prod(made) > MAX_VALUES:
        raise UsageError(f"makes a tensor {made}: expected one image, at most {MAX_VALUES} values")
    return widths


@MOVES.of("Resize", "Upsample")
def _resize(importer: Importer, node: NodeProto) -> Feature:
    """Planes of another size; copies of neighbours where every value becomes stride x stride of it."""
    layer, attributes = importer.planes(importer.feature(node)), attributes_of(node)
    old = importer.sketch.shape(layer)
    if attributes.get("antialias") or (attributes.get("exclude_outside") and attributes.get("mode") == "cubic"):
        raise UsageError("leaves out what is outside or averages (antialias, exclude_outside): expected neither")
    (height, width), scales = _new_sides(importer, node, old)
    keys = _resize_keys(importer, node, is_smaller=min(scales) < 1)
    if keys["coordinates"] == "half_pixel_symmetric":
        if [old.height * scales[0], old.width * scales[1]] != [height, width]:
            raise UsageError("is half_pixel_symmetric with sides that are rounded: expected whole ones")
        keys["coordinates"] = "half_pixel"
    if height * width * old.channels > MAX_VALUES:
        raise UsageError(f"makes {old.channels}x{height}x{width} values: expected at most {MAX_VALUES}")
    rows, columns = (
        Resampling(old=before, new=after, scale=scale, **keys)
        for before, after, scale in zip((old.height, old.width), (height, width), scales, strict=True)
    )
    stride = height // old.height
    if rows.is_copy and columns.is_copy and (height, width) == (stride * old.height, stride * old.width):
        return importer.delivered(importer.sketch.add("upsample", layer, stride=stride))
    given = {"scale_y": (rows, scales[0]), "scale_x": (columns, scales[1])}
    own: dict[str, Any] = {key: scale for key, (side, scale) in given.items() if scale != side.new / side.old}
    return importer.delivered(importer.sketch.add("resize", layer, height=height, width=width, **keys, **own))


def _new_sides(importer: Importer, node: NodeProto, old: Shape) -> tuple[list[int], list[float]]:
    """(height, width) and their magnifications."""
    attributes = attributes_of(node)
    scales = importer.option(node, "scales", 1 if node.op_type == "Upsample" or len(node.input) == 2 else 2) or None
    sizes = importer.option(node, "sizes", 3) or None
    axes = [axis % 4 for axis in attributes.get("axes", range(4))]
    policy = attributes.get("keep_aspect_ratio_policy", "stretch")
    found = dict(zip(axes, scales or sizes or (), strict=False))
    unchanged = [1, 1] if scales else [1, old.channels]
    if len(found) != len(axes) or [found.pop(0, 1), found.pop(1, unchanged[1])] != unchanged:
        raise UsageError(f"has scales {scales}, sizes {sizes} for axes {axes}: expected height and width alone")
    sides = [old.height, old.width]
    if scales:
        factors = [float(found.get(axis, 1.0)) for axis in (2, 3)]
        new = [int(np.float32(side) * np.float32(factor)) for side, factor in zip(sides, factors, strict=True)]
    else:
        new = [int(found.get(axis, side)) for axis, side in zip((2, 3), sides, strict=True)]
        factors = [after / before for after, before in zip(new, sides, strict=True)]
        if policy != "stretch":
            ratio = (min if policy == "not_larger" else max)(factors[axis - 2] for axis in found)
            factors = [ratio if axis in found else 1.0 for axis in (2, 3)]
            new = [math.floor(side * factor + 0.5) for side, factor in zip(sides, factors, strict=True)]
    if min(new) < 1 or not all(1e-6 <= factor <= 1e6 for factor in factors):
        raise UsageError(f"makes planes of {new[0]}x{new[1]}: expected at least one value of each")
    return new, factors


def _resize_keys(importer: Importer, node: NodeProto, *, is_smaller: bool) -> dict[str, Any]:
    """The keys of the layer that say how: earlier versions know one way."""
    attributes = attributes_of(node)
    if node.op_type == "Upsample" or importer.opset < 11:
        rounding = "ceil" if is_smaller and node.op_type == "Resize" else "floor"
        given = {"coordinates": "asymmetric", "rounding": rounding}
    else:
        given = {
            "coordinates": attributes.get("coordinate_transformation_mode", "half_pixel"),
            "rounding": attributes.get("nearest_mode", "round_prefer_floor"),
        }
    mode = attributes.get("mode", "nearest")
    if given == {"coordinates": "tf_half_pixel_for_nn", "rounding": "floor"}:
        given = {"coordinates": "half_pixel", "rounding": "round_prefer_ceil"}
    is_known = given["coordinates"] in (*COORDINATES, "half_pixel_symmetric") and given["rounding"] in ROUNDING
    if mode not in TAPS or not is_known:
        found = f"{mode}, {given['coordinates']}, {given['rounding']}"
        expected = f"{', '.join(TAPS)}; {', '.join(COORDINATES)}; {', '.join(ROUNDING)}"
        raise UsageError(f"is {found}: expected one each of {expected}")
    keys: dict[str, Any] = {"mode": mode, "coordinates": given["coordinates"]}
    if mode == "nearest":
        keys["rounding"] = given["rounding"]
    if mode == "cubic":
        keys["cubic"] = attributes.get("cubic_coeff_a", -0.75)
    return keys
