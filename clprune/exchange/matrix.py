"""The operators of layers whose weights are a matrix: as they are, in few bits, or in the Winograd domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from clprune.darknet.fold import BATCH_NORM_EPSILON, signs
from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.quantize import input_scale
from clprune.darknet.values import LayerWeights
from clprune.exchange.activations import activate
from clprune.exchange.graph import Graph, Site
from clprune.exchange.windows import blur, window_attributes
from clprune.quantization.coding import LARGEST_CODE, CodebookCoding, HalfCoding, LinearCoding
from clprune.winograd.transforms import transform_matrices


def write_convolution(layer: Convolutional, site: Site) -> str:
    """Convolution, then batch normalization or biases, then the activation."""
    values = _values(site)
    (x,) = site.planes
    if layer.is_binary:
        values = replace(values, weights=signs(values.weights), coding=None)
    if layer.xnor:
        is_positive = site.graph.add("Greater", x, site.graph.number(0))
        x = site.graph.add("Where", is_positive, site.graph.number(1), site.graph.number(-1))
    if values.winograd is not None:
        return _finish(layer, site, _winograd(layer, site.graph, x, values))
    x, weights = _coded(layer, site.graph, x, values)
    window = layer.own_window
    if layer.has_bit_border:
        first, last = (0, window.top, window.left), (0, window.bottom, window.right)
        x, window = site.graph.pad(x, before=first, after=last, value=-1), window.inner
    y = site.graph.add("Conv", x, weights, *_biases(layer, site), group=layer.groups, **window_attributes(window))
    return blur(layer, site.graph, _finish(layer, site, y))


def write_connected(layer: Connected, site: Site) -> str:
    """A product with the flattened input, then batch normalization or biases, then the activation."""
    x, weights = _coded(layer, site.graph, site.graph.vector(site.x), _values(site))
    return _finish(layer, site, site.graph.add("Gemm", x, weights, *_biases(layer, site), transB=1))


def normalize(graph: Graph, x: str, values: LayerWeights) -> str:
    """Batch normalization, not folded: whoever runs the graph does that."""
    statistics = {name: getattr(values, name) for name in ("scales", "biases", "mean", "variance")}
    arrays = [graph.constant(array, name) for name, array in statistics.items()]
    return graph.add("BatchNormalization", x, *arrays, epsilon=BATCH_NORM_EPSILON)


def _values(site: Site) -> LayerWeights:
    assert site.values is not None  # checked by whoever made the site
    return site.values


def _biases(layer: MatrixLayer, site: Site) -> list[str]:
    return [] if layer.batch_normalize else [site.graph.constant(_values(site).biases, "biases")]


def _finish(layer: MatrixLayer, site: Site, x: str) -> str:
    return activate(
        site.graph, layer.activation, normalize(site.graph, x, _values(site)) if layer.batch_normalize else x
    )


def _coded(layer: MatrixLayer, graph: Graph, x: str, values: LayerWeights) -> tuple[str, str]:
    """(input, weights) as they are multiplied: weights in few bits stay so in the file, and decode exactly.

    ONNX quantizes to -128 as well, which codes leave out: the input is cut off before.
    """
    coding, shape = values.coding, layer.weights_shape
    if isinstance(coding, LinearCoding):
        zero = graph.constant(np.zeros(len(coding.scales), np.int8))
        codes = graph.constant(coding.codes.reshape(shape), "codes")
        weights = graph.add("DequantizeLinear", codes, graph.constant(coding.scales, "code_scales"), zero, axis=0)
        found = input_scale(layer, values)
        if found is not None:
            scale = (graph.number(found), graph.constant(np.array(0, np.int8)))
            largest = float(np.float32(found) * np.float32(LARGEST_CODE))
            x = graph.add("Clip", x, graph.number(-largest), graph.number(largest))
            x = graph.add("DequantizeLinear", graph.add("QuantizeLinear", x, *scale), *scale)
        return x, weights
    if isinstance(coding, CodebookCoding):
        codes = graph.add("Cast", graph.constant(coding.codes.reshape(shape), "codes"), to=TensorProto.INT32)
        return x, graph.add("Gather", graph.constant(coding.codebook, "codebook"), codes)
    if isinstance(coding, HalfCoding):
        halves = graph.constant(coding.values.reshape(shape), "weights")
        return x, graph.add("Cast", halves, to=TensorProto.FLOAT)
    return x, graph.constant(values.weights.reshape(shape), "weights")


def _winograd(layer: Convolutional, graph: Graph, x: str, values: LayerWeights) -> str:
    """F(m x m, 3 x 3) with weights U `[alpha, alpha, out, in]`, which need not be any 3 x 3 filter's: Y = A^T M A.

    V = B^T d B is a convolution of each channel by itself with stride m, M_xi = U_xi V_xi one of size 1 in alpha^2
    groups, and A^T M A, put side by side, a transposed convolution of each channel by itself.
    """
    assert values.winograd is not None
    tile, transforms = values.winograd, transform_matrices(values.winograd)
    alpha, matrices = transforms.input_tile, transforms.matrices
    channels, filters, output = layer.input.channels, layer.filters, layer.output
    padding = layer.window.top
    rows, columns = -(-output.height // tile), -(-output.width // tile)
    ends = [
        tiles * tile + alpha - tile - side - padding
        for tiles, side in ((rows, layer.input.height), (columns, layer.input.width))
    ]
    first, last = (np.kron(side, side).astype(np.float32) for side in (transforms.input_array, transforms.output_array))
    inward = np.tile(first.reshape(1, matrices, 1, alpha, alpha), (channels, 1, 1, 1, 1))
    outward = np.tile(last.T.reshape(1, matrices, 1, tile, tile), (filters, 1, 1, 1, 1))
    x = graph.pad(x, before=(0, padding, padding), after=(0, *ends))
    v = graph.add(
        "Conv", x, graph.constant(inward.reshape(-1, 1, alpha, alpha)), group=channels, strides=[tile] * 2
    )  # fmt: skip
    v = _regroup(graph, v, (channels, matrices), rows=rows, columns=columns)
    u = graph.constant(values.weights.reshape(matrices * filters, channels, 1, 1), "weights")
    products = _regroup(graph, graph.add("Conv", v, u, group=matrices), (matrices, filters), rows=rows, columns=columns)
    kernel = graph.constant(outward.reshape(-1, 1, tile, tile))
    y = graph.add("ConvTranspose", products, kernel, group=filters, strides=[tile] * 2)
    y = graph.slice(y, first=(0, 0, 0), end=(filters, output.height, output.width))
    if layer.batch_normalize:
        return y
    return graph.add("Add", y, graph.constant(values.biases.reshape(-1, 1, 1), "biases"))


def _regroup(graph: Graph, x: str, counts: tuple[int, int], *, rows: int, columns: int) -> str:
    """Channels a * counts[1] + b in the order b * counts[0] + a."""
    apart = graph.reshape(x, *counts, rows, columns)
    turned = graph.add("Transpose", apart, perm=[0, 2, 1, 3, 4])
    return graph.reshape(turned, counts[0] * counts[1], rows, columns)
