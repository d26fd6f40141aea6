"""What ONNX operators become that mix channels or normalize them: products with matrices, normalization, softmax.

Source: https://onnx.ai/onnx/operators, versions 7 to 23.
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
from clprune.exchange.feature import Feature, Indices, channels_last, line_of
from clprune.exchange.import_sums import centred, divided
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, attributes_of
from clprune.exchange.sketch import normalization_values

FloatArray = npt.NDArray[np.float32]

MATRICES = Operators()


@MATRICES.of("BatchNormalization")
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


@MATRICES.of("LayerNormalization")
def _layer_normalization(importer: Importer, node: NodeProto) -> Feature:
    """Over channels: their mean is taken away, and what is left divided by the root of its variance."""
    feature, attributes = importer.applied(importer.feature(node)), attributes_of(node)
    shape = importer.sketch.shape(feature.layer)
    if attributes.get("axis", -1) not in (-1, feature.places.ndim - 1) or not importer.is_channels_last(feature):
        raise UsageError("normalizes other axes than the channels")
    channels, scales = shape.channels, importer.floats(node, 1)
    biases = importer.floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros_like(scales)
    layer = divided(
        importer, centred(importer, feature.layer), share=1 / channels, epsilon=attributes.get("epsilon", 1e-5)
    )
    return replace(feature, layer=importer.sketch.add_affine(layer, factors=scales, offsets=biases))


@MATRICES.of("InstanceNormalization", "GroupNormalization")
def _group_normalization(importer: Importer, node: NodeProto) -> Feature:
    """Groups are runs of channels, however the tensor is folded."""
    feature, attributes = importer.applied(importer.feature(node)), attributes_of(node)
    if feature.places.ndim == 4:
        feature = importer.delivered(importer.planes(feature))
    shape, sides = importer.sketch.shape(feature.layer), feature.places.shape
    groups = attributes.get("num_groups", 0) if node.op_type == "GroupNormalization" else sides[1]
    is_whole = np.array_equal(feature.places.reshape(-1), np.arange(shape.elements))
    if not is_whole or groups < 1 or shape.channels % groups:
        raise UsageError(f"normalizes {groups} parts of {shape}: expected runs of its channels")
    arrays = [importer.floats(node, index) for index in (1, 2)]
    if any(array.ndim != 1 or len(array) not in (groups, shape.channels) for array in arrays):
        raise UsageError(f"has scales of shape {arrays[0].shape}: expected {groups}, or {shape.channels}")
    weights, biases = (np.repeat(array, shape.channels // len(array)) for array in arrays)
    layer = importer.sketch.add(
        "groupnorm", feature.layer, groups=groups, epsilon=attributes.get("epsilon", 1e-5),
        values=LayerWeights(weights=weights, biases=biases),
    )  # fmt: skip
    return replace(feature, layer=layer)


@MATRICES.of("LRN")
def _local_response_normalization(importer: Importer, node: NodeProto) -> Feature:
    attributes = attributes_of(node)
    size, bias = attributes.get("size", 0), attributes.get("bias", 1.0)
    layer = importer.planes(importer.feature(node))
    if not 1 <= size <= 2 * importer.sketch.shape(layer).channels + 1:
        raise UsageError(f"has size={size}: expected 1 to twice the channels")
    facts: dict[str, Any] = {
        "alpha": attributes.get("alpha", 1e-4) / size,
        "beta": attributes.get("beta", 0.75),
        "kappa": bias,
    }
    return importer.delivered(importer.sketch.add("normalization", layer, size=size, full=1, **facts))


@MATRICES.of("Softmax")
def _softmax(importer: Importer, node: NodeProto) -> Feature:
    feature = importer.resolved(importer.feature(node))
    line = line_of(feature.at_probes)
    # what is added to all values changes nothing, and what multiplies them is a temperature
    feature = replace(feature, samples=None) if line and line[0] > 0 else importer.applied(feature)
    sides, elements = feature.places.shape, importer.sketch.shape(feature.layer).elements
    axis = attributes_of(node).get("axis", 1 if importer.opset < 13 else -1) % len(sides)
    temperature: dict[str, Any] = {"temperature": 1 / line[0]} if line and line[0] > 0 and line[0] != 1 else {}
    if importer.opset >= 13 and math.prod(sides) > sides[axis]:
        if len(sides) == 4 and axis == 1:
            layer = importer.sketch.add("softmax", importer.planes(feature), spatial=1, **temperature)
            return importer.delivered(layer)
        if axis == len(sides) - 1 and importer.is_channels_last(feature):
            return replace(feature, layer=importer.sketch.add("softmax", feature.layer, spatial=1, **temperature))
    length = math.prod(sides[axis:])
    is_run = np.array_equal(feature.places.reshape(-1), np.arange(elements))
    if not is_run or (importer.opset >= 13 and length != sides[axis]):
        raise UsageError(f"goes along axis {axis} of {list(sides)}: expected runs of neighbouring values")
    options = temperature if length == elements else {"groups": elements // length, **temperature}
    return replace(feature, layer=importer.sketch.add("softmax", feature.layer, **options))


@MATRICES.of("Gemm")
@np.errstate(invalid="ignore", over="ignore")  # what is not finite is refused where layers get their values
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


@MATRICES.of("MatMul")
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
