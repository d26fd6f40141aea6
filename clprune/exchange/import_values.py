"""What ONNX operators become, but for those of windows: functions of values, moved values, weights and joins.

Source: https://onnx.ai/onnx/operators, of versions 7 to 23.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.feature import LOWEST, PROBES, ZERO, Feature, Indices, channels_last, line_of
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, Array, attributes_of, evaluate
from clprune.exchange.sketch import normalization_values

FloatArray = npt.NDArray[np.float32]

VALUES = Operators()

# --- nothing, and values elsewhere ---


@VALUES.of("Identity", "Dropout", "Cast")
def _identity(importer: Importer, node: NodeProto) -> Feature:
    if node.op_type == "Cast" and attributes_of(node).get("to") not in (1, 10, 11, 16):
        raise UsageError("makes whole numbers of a tensor: expected float")
    return importer.feature(node)


@VALUES.of(
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "DepthToSpace",
    "SpaceToDepth",
)  # fmt: skip
def _move(importer: Importer, node: NodeProto) -> list[Feature]:
    feature = importer.feature(node)
    others = [importer.constant(node, index) for index in range(1, len(node.input))]
    if node.op_type == "Gather" and others[0] is not None and others[0].size * feature.places.size > MAX_VALUES:
        raise UsageError(f"makes a tensor of more than {MAX_VALUES} values")
    moved = evaluate(node, [feature.places, *others], opset=importer.opset)
    return [_at(feature, places) for places in moved]


def _at(feature: Feature, places: Array) -> Feature:
    """The tensor with its values elsewhere, its own ways out with them."""
    if places.ndim < 1 or places.shape[0] != 1 or 0 in places.shape:
        raise UsageError(f"makes a tensor {list(places.shape)} of one image: expected [1, ...]")
    return replace(feature, places=places.astype(np.int32), otherwise=None)


@VALUES.of("Pad")
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


@VALUES.of("Resize", "Upsample")
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


# --- functions of single values ---


@VALUES.of(
    "Abs", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg",
    "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
def _function(importer: Importer, node: NodeProto) -> Feature:
    feature = importer.feature(node)
    others = [importer.constant(node, index) for index in range(1, len(node.input))]
    return _sampled(importer, node, feature, [feature.at_probes, *others])


def _sampled(importer: Importer, node: NodeProto, feature: Feature, inputs: list[Array | None]) -> Feature:
    """The tensor with the node's function applied to its values."""
    # what is left open: the function of what was computed before, by a layer of its own
    before = None if feature.samples is None else lambda: _of_layer(importer, node, feature, inputs)
    exact = [None if value is None else value.astype(np.float64).reshape(value.shape or ()) for value in inputs]
    samples = evaluate(node, exact, opset=importer.opset)[0]
    if samples.shape != feature.at_probes.shape:
        raise UsageError("is supported with single values beside a tensor only")
    return replace(feature, samples=samples.astype(np.float64), otherwise=before)


def _of_layer(importer: Importer, node: NodeProto, feature: Feature, inputs: list[Array | None]) -> Feature:
    """As `_sampled`, with all functions so far computed by a layer."""
    fresh = importer.applied(feature)
    return _sampled(importer, node, fresh, [PROBES if value is feature.at_probes else value for value in inputs])


@VALUES.of("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu")
def _arithmetic(importer: Importer, node: NodeProto) -> Feature:
    inputs = importer.inputs(node)
    if len(inputs) != 2:
        raise UsageError(f"takes {len(inputs)} inputs: expected 2")
    first, second = inputs
    if isinstance(first, Feature) and isinstance(second, Feature):
        return _join(importer, node, first, second)
    feature, constant = (first, second) if isinstance(first, Feature) else (second, first)
    assert isinstance(feature, Feature)
    assert isinstance(constant, np.ndarray)
    if constant.size == 1 and constant.ndim <= feature.places.ndim:
        scalar = constant.reshape(())
        values = [feature.at_probes if value is feature else scalar for value in inputs]
        return _sampled(importer, node, feature, list(values))
    return _affine(importer, node, importer.applied(feature), constant, is_first=feature is first)


def _affine(importer: Importer, node: NodeProto, feature: Feature, constant: Array, *, is_first: bool) -> Feature:
    """A constant for each channel, added or multiplied."""
    shape = importer.sketch.shape(feature.layer)
    wide = np.broadcast_to(np.asarray(constant, np.float32), feature.places.shape).reshape(-1)
    channels = feature.places.reshape(-1) // (shape.height * shape.width)
    values = np.zeros(shape.channels, np.float32)
    values[channels] = wide
    if (feature.places < 0).any() or not np.array_equal(values[channels], wide):
        raise UsageError(f"takes a constant of shape {constant.shape}: expected one value or one for each channel")
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    factors, offsets = {
        ("Add", True): (ones, values),
        ("Add", False): (ones, values),
        ("Sub", True): (ones, -values),
        ("Sub", False): (-ones, values),
        ("Mul", True): (values, zeros),
        ("Mul", False): (values, zeros),
        ("Div", True): (np.reciprocal(values) if values.all() else None, zeros),
    }.get((node.op_type, is_first), (None, zeros))
    if factors is None:
        raise UsageError("is not supported with a constant for each channel")
    layer = importer.sketch.add_affine(feature.layer, factors=factors, offsets=offsets)
    return replace(feature, layer=layer)


def _join(importer: Importer, node: NodeProto, first: Feature, second: Feature) -> Feature:
    """Two tensors: a function of the same values, or two layers."""
    is_one = first.layer == second.layer and np.array_equal(first.places, second.places)
    if is_one and (first.samples is not None or second.samples is not None):
        found = _sampled(importer, node, first, [first.at_probes, second.at_probes])
        return replace(found, otherwise=lambda: _join_later(importer, node, first, second))
    return _joined(importer, node.op_type, first, second)


def _join_later(importer: Importer, node: NodeProto, first: Feature, second: Feature) -> Feature:
    """Two functions of the same values that are none together: one of them may be a function of the other."""
    for whole, part in ((first, second), (second, first)):
        if whole.otherwise is not None:
            fresh = whole.otherwise()
            base = importer.applied(part)
            if fresh.layer == base.layer:
                return _join(importer, node, *((fresh, base) if whole is first else (base, fresh)))
    return _joined(importer, node.op_type, first, second)


def _joined(importer: Importer, name: str, first: Feature, second: Feature) -> Feature:
    first, second = importer.applied(first), importer.applied(second)
    sketch = importer.sketch
    shapes = [sketch.shape(feature.layer) for feature in (first, second)]
    is_alike = shapes[0] == shapes[1] and np.array_equal(first.places, second.places)
    layers = [feature.layer if is_alike else importer.planes(feature) for feature in (first, second)]
    shapes = [sketch.shape(layer) for layer in layers]
    places = first.places if is_alike else None
    if name in ("Add", "Sub") and shapes[0] == shapes[1]:
        if name == "Sub":
            ones = np.ones(shapes[1].channels, np.float32)
            layers[1] = sketch.add_affine(layers[1], factors=-ones, offsets=0 * ones)
        return importer.delivered(sketch.add("shortcut", *layers, activation="linear"), places)
    if name == "Mul" and shapes[0] == shapes[1]:
        return importer.delivered(sketch.add("sam", *layers, activation="linear"), places)
    vectors = [shape.height == shape.width == 1 for shape in shapes]
    if name == "Mul" and shapes[0].channels == shapes[1].channels and any(vectors):
        layers = layers if vectors[0] else layers[::-1]
        return importer.delivered(sketch.add("scale_channels", *layers, activation="linear"))
    expected = "expected sums of equal shapes, or products of those or with a factor for each channel"
    raise UsageError(f"joins {shapes[0]} and {shapes[1]}: {expected}")


@VALUES.of("Concat")
def _concat(importer: Importer, node: NodeProto) -> Feature:
    features = [importer.feature(node, index) for index in range(len(node.input))]
    first = features[0]
    rank = first.places.ndim
    axis = attributes_of(node).get("axis", 1)
    if len({feature.layer for feature in features}) == 1 and all(feature.samples is None for feature in features):
        (places,) = evaluate(node, [feature.places for feature in features], opset=importer.opset)
        return _at(first, places)
    if axis not in (1, 1 - rank):
        raise UsageError(f"has axis={axis}: expected 1, the channels")
    if rank == 2:
        features = [replace(feature, places=feature.places[:, :, None, None]) for feature in features]
    found = importer.delivered(importer.sketch.add("route", *(importer.planes(feature) for feature in features)))
    return found if rank == 4 else replace(found, places=found.places[:, :, 0, 0])


# --- normalization ---


@VALUES.of("BatchNormalization")
def _batch_normalization(importer: Importer, node: NodeProto) -> Feature:
    if attributes_of(node).get("training_mode"):
        raise UsageError("is in training mode: expected a model for inference")
    feature = importer.applied(importer.feature(node))
    scales, biases, mean, variance = (importer.floats(node, index) for index in range(1, 5))
    epsilon = attributes_of(node).get("epsilon", 1e-5)
    values = normalization_values(scales, biases, mean, variance, epsilon=epsilon)
    if feature.places.ndim != 2:
        return importer.delivered(importer.sketch.add("batchnorm", importer.planes(feature), values=values))
    if not importer.is_channels_last(feature):
        raise UsageError("normalizes a vector that is no layer's channels")
    return replace(feature, layer=importer.sketch.add("batchnorm", feature.layer, values=values))


@VALUES.of("LayerNormalization")
def _layer_normalization(importer: Importer, node: NodeProto) -> Feature:
    """Over channels: a convolution of 1x1 takes their mean away, and darknet's normalization whose window holds all of
    them divides by the root of what is left.
    """
    feature, attributes = importer.applied(importer.feature(node)), attributes_of(node)
    shape = importer.sketch.shape(feature.layer)
    if attributes.get("axis", -1) not in (-1, feature.places.ndim - 1) or not importer.is_channels_last(feature):
        raise UsageError("normalizes other axes than the channels")
    channels = shape.channels
    scales = importer.floats(node, 1)
    biases = importer.floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros_like(scales)
    centre = (np.eye(channels) - 1 / channels).astype(np.float32)
    values = LayerWeights(weights=centre.reshape(channels, channels, 1, 1), biases=np.zeros(channels, np.float32))
    add = importer.sketch.add
    layer = add("convolutional", feature.layer, filters=channels, size=1, activation="linear", values=values)
    options = {"alpha": 1 / channels, "beta": 0.5, "kappa": attributes.get("epsilon", 1e-5), "size": 2 * channels + 2}
    layer = add("normalization", layer, **options)
    return replace(feature, layer=importer.sketch.add_affine(layer, factors=scales, offsets=biases))


@VALUES.of("Softmax")
def _softmax(importer: Importer, node: NodeProto) -> Feature:
    feature = importer.resolved(importer.feature(node))
    line = line_of(feature.at_probes)
    # what is added to all values changes nothing, and what multiplies them is a temperature
    feature = replace(feature, samples=None) if line and line[0] > 0 else importer.applied(feature)
    sides, elements = feature.places.shape, importer.sketch.shape(feature.layer).elements
    axis = attributes_of(node).get("axis", 1 if importer.opset < 13 else -1) % len(sides)
    length = math.prod(sides[axis:])
    is_run = np.array_equal(feature.places.reshape(-1), np.arange(elements))
    if not is_run or (importer.opset >= 13 and length != sides[axis]):
        raise UsageError(f"goes along axis {axis} of {list(sides)}: expected runs of neighbouring values")
    options: dict[str, Any] = {"groups": elements // length, "temperature": 1 / line[0] if line and line[0] > 0 else 1}
    options = {key: value for key, value in options.items() if value != 1}
    return replace(feature, layer=importer.sketch.add("softmax", feature.layer, **options))


# --- matrices ---


@VALUES.of("Gemm")
def _gemm(importer: Importer, node: NodeProto) -> Feature:
    attributes = attributes_of(node)
    if attributes.get("transA"):
        raise UsageError("has transA=1: expected 0")
    matrix = importer.floats(node, 1) * np.float32(attributes.get("alpha", 1.0))
    if matrix.ndim != 2:
        raise UsageError(f"takes a matrix of shape {matrix.shape}: expected two axes")
    matrix = matrix if attributes.get("transB") else matrix.T
    biases = np.zeros(len(matrix), np.float32)
    if len(node.input) > 2 and node.input[2]:
        added = importer.floats(node, 2) * np.float32(attributes.get("beta", 1.0))
        biases += np.broadcast_to(added, (1, len(matrix)))[0]
    return _connected(importer, importer.feature(node), np.ascontiguousarray(matrix), biases)


@VALUES.of("MatMul")
def _matmul(importer: Importer, node: NodeProto) -> Feature:
    matrix = importer.floats(node, 1)
    if matrix.ndim != 2:
        raise UsageError(f"takes a matrix of shape {matrix.shape}: expected two axes")
    feature, matrix = importer.applied(importer.feature(node)), np.ascontiguousarray(matrix.T)
    biases = np.zeros(len(matrix), np.float32)
    if feature.places.ndim == 2:
        return _connected(importer, feature, matrix, biases)
    if not importer.is_channels_last(feature) or feature.places.shape[-1] != matrix.shape[1]:
        raise UsageError("multiplies an axis that is not the channels")
    values = LayerWeights(weights=matrix[:, :, None, None], biases=biases)
    options = {"filters": len(matrix), "size": 1, "activation": "linear"}
    layer = importer.sketch.add("convolutional", feature.layer, values=values, **options)
    places = channels_last(importer.sketch.shape(layer)).reshape(*feature.places.shape[:-1], len(matrix))
    return importer.delivered(layer, places)


def _connected(importer: Importer, feature: Feature, matrix: FloatArray, biases: FloatArray) -> Feature:
    """A product with all of a layer's output, whose values the columns of `matrix` find wherever they went."""
    feature = importer.applied(feature)
    places = feature.places
    elements = importer.sketch.shape(feature.layer).elements
    if places.ndim != 2 or places.size != matrix.shape[1]:
        raise UsageError(f"multiplies {list(places.shape)} with {matrix.shape[1]} rows")
    columns: Indices = places[0]
    if not np.array_equal(columns, np.arange(elements)):
        if (columns < 0).any() or len(np.unique(columns)) != len(columns) or len(matrix) * elements > MAX_VALUES:
            raise UsageError("multiplies values that were moved in a way that no layer does")
        spread = np.zeros((len(matrix), elements), np.float32)
        spread[:, columns] = matrix
        matrix = spread
    values = LayerWeights(weights=matrix, biases=biases)
    layer = importer.sketch.add("connected", feature.layer, output=len(matrix), activation="linear", values=values)
    return importer.delivered(layer, np.arange(len(matrix), dtype=np.int32).reshape(1, -1))
