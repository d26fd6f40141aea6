"""A chain as an ONNX model: what ONNX Runtime, OpenVINO and DeepSparse read."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.values import LayerWeights
from tools.bench.chain import LEAKY_SLOPE, Chain, Link, borders

INPUT, OUTPUT = "images", "answer"

#: Old enough for every runtime here, new enough for all that is written.
_OPSET, _IR_VERSION = 13, 8


def onnx_model(chain: Chain) -> onnx.ModelProto:
    """The chain with its arrays; the input is `[batch, C, H, W]`, of a fixed batch."""
    nodes: list[onnx.NodeProto] = []
    arrays: list[onnx.TensorProto] = []
    for operator, values, attributes in (one for link in chain.links for one in _operators(link)):
        name = f"node{len(nodes)}"
        inputs = [nodes[-1].output[0] if nodes else INPUT]
        for suffix in ("weights", "biases") if values is not None else ():
            arrays.append(numpy_helper.from_array(getattr(values, suffix), f"{name}.{suffix}"))
            inputs.append(f"{name}.{suffix}")
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
    nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, list(chain.input_shape))],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [chain.network.batch, chain.network.outputs])],
        arrays,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _operators(link: Link) -> list[tuple[str, LayerWeights | None, dict[str, Any]]]:
    """(operator, its arrays, its attributes), each on the output of the one before."""
    layer, values = link
    if isinstance(layer, Convolutional):
        sides = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
        return [("Conv", values, {"group": layer.groups, **sides}), *_ACTIVATIONS[layer.activation]]
    if isinstance(layer, Connected):
        return [("Flatten", None, {"axis": 1}), ("Gemm", values, {"transB": 1}), *_ACTIVATIONS[layer.activation]]
    if isinstance(layer, MaxPool):
        before, below, right = borders(layer)
        sides = {"strides": [layer.stride] * 2, "pads": [before, before, below, right]}
        return [("MaxPool", None, {"kernel_shape": [layer.size] * 2, **sides})]
    if isinstance(layer, AvgPool):
        return [("GlobalAveragePool", None, {})]
    return [("Flatten", None, {"axis": 1}), ("Softmax", None, {"axis": 1})]


_ACTIVATIONS: dict[str, list[tuple[str, LayerWeights | None, dict[str, Any]]]] = {
    "linear": [],
    "relu": [("Relu", None, {})],
    "leaky": [("LeakyRelu", None, {"alpha": LEAKY_SLOPE})],
}
