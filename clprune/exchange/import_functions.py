"""What ONNX operators become that compute with single values, and those that join two tensors.

Source: https://onnx.ai/onnx/operators, versions 7 to 23.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from clprune.darknet.kinds.base import flat
from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.feature import PROBES, Feature, once
from clprune.exchange.import_moves import moved
from clprune.exchange.import_sums import normalized
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, Array, attributes_of, evaluate

FUNCTIONS = Operators()


@FUNCTIONS.of(
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
    before = None if feature.samples is None else once(lambda: _of_layer(importer, node, feature, inputs))
    exact = [None if value is None else value.astype(np.float64).reshape(value.shape or ()) for value in inputs]
    samples = evaluate(node, exact, opset=importer.opset)[0]
    if samples.shape != feature.at_probes.shape:
        raise UsageError("is supported with single values beside a tensor only")
    return replace(feature, samples=samples.astype(np.float64), otherwise=before)


def _of_layer(importer: Importer, node: NodeProto, feature: Feature, inputs: list[Array | None]) -> Feature:
    """As `_sampled`, with all functions so far computed by a layer."""
    fresh = importer.applied(feature)
    return _sampled(importer, node, fresh, [PROBES if value is feature.at_probes else value for value in inputs])


@FUNCTIONS.of("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu")
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
    if node.op_type == "PRelu" and is_first:  # values * x where it is negative
        positive = importer.affine(importer.sketch.add("activation", feature.layer, activation="relu"), 1 - values, 0.0)
        whole = importer.affine(feature.layer, values, 0.0)
        return replace(feature, layer=importer.sketch.add("shortcut", positive, whole, activation="linear"))
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
    for x, other in ((first, second), (second, first)) if node.op_type == "Mul" else ((first, second),):
        found = normalized(importer, node.op_type, x, other) if node.op_type in ("Sub", "Div", "Mul") else None
        if found is not None:
            return found
    is_one = first.layer == second.layer and np.array_equal(first.places, second.places)
    if is_one:
        found = _sampled(importer, node, first, [first.at_probes, second.at_probes])
        return replace(found, otherwise=once(lambda: _join_later(importer, node, first, second)))
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
    if name in ("Add", "Sub"):
        layers = _widened(importer, layers)
    shapes = [sketch.shape(layer) for layer in layers]
    places = first.places if is_alike else None
    if name in ("Add", "Sub") and shapes[0] == shapes[1]:
        if name == "Sub":
            ones = np.ones(shapes[1].channels, np.float32)
            layers[1] = sketch.add_affine(layers[1], factors=-ones, offsets=0 * ones)
        return importer.delivered(sketch.add("shortcut", *layers, activation="linear"), places)
    if name == "Mul" and shapes[0] == shapes[1]:
        return importer.delivered(sketch.add("sam", *layers, activation="linear"), places)
    for factor, other in ((0, 1), (1, 0)) if name == "Mul" else ():
        ways = {flat(shapes[other].channels): {}, replace(shapes[other], channels=1): {"scale_wh": 1}}
        if shapes[factor] in ways:
            options: dict[str, Any] = {**ways[shapes[factor]], "activation": "linear"}
            return importer.delivered(sketch.add("scale_channels", layers[factor], layers[other], **options))
    expected = "expected sums or products of equal shapes, or with one value for each channel or place"
    raise UsageError(f"joins {shapes[0]} and {shapes[1]}: {expected}")


def _widened(importer: Importer, layers: list[int]) -> list[int]:
    """The smaller of two layers copied to all channels, or places, of the larger."""
    sketch = importer.sketch
    small, large = sorted(layers, key=lambda layer: sketch.shape(layer).elements)
    shape, wanted = sketch.shape(small), sketch.shape(large)
    made = small
    if shape == flat(wanted.channels) != wanted:
        made = sketch.add("resize", small, height=wanted.height, width=wanted.width, mode="nearest")
    elif shape == replace(wanted, channels=1) != wanted:
        ones = np.ones((wanted.channels, 1, 1, 1), np.float32)
        values = LayerWeights(weights=ones, biases=np.zeros(wanted.channels, np.float32))
        made = sketch.add("convolutional", small, filters=len(ones), size=1, activation="linear", values=values)
    return [made if layer == small else layer for layer in layers]


@FUNCTIONS.of("Concat")
def _concat(importer: Importer, node: NodeProto) -> Feature:
    features = [importer.feature(node, index) for index in range(len(node.input))]
    first = features[0]
    rank = first.places.ndim
    axis = attributes_of(node).get("axis", 1)
    if len({feature.layer for feature in features}) == 1 and all(feature.samples is None for feature in features):
        if sum(feature.places.size for feature in features) > MAX_VALUES:
            raise UsageError(f"makes more than {MAX_VALUES} values")
        (places,) = evaluate(node, [feature.places for feature in features], opset=importer.opset)
        return moved(first, places)
    if axis not in (1, 1 - rank):
        raise UsageError(f"has axis={axis}: expected 1, the channels")
    if rank == 2:
        features = [replace(feature, places=feature.places[:, :, None, None]) for feature in features]
    found = importer.delivered(importer.sketch.add("route", *(importer.planes(feature) for feature in features)))
    return found if rank == 4 else replace(found, places=found.places[:, :, 0, 0])
