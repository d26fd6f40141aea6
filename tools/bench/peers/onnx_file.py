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
    writer = _Writer()
    for link in chain.links:
        writer.add_link(link)
    writer.nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, list(chain.input_shape))],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [chain.network.batch, chain.network.outputs])],
        writer.arrays,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


class _Writer:
    """Collects nodes, each on the output of the one before."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []

    def add_link(self, link: Link) -> None:
        layer, values = link
        if isinstance(layer, Convolutional):
            sides = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
            self._add("Conv", values, group=layer.groups, **sides)
            self._add_activation(layer.activation)
        elif isinstance(layer, Connected):
            self._add("Flatten", axis=1)
            self._add("Gemm", values, transB=1)
            self._add_activation(layer.activation)
        elif isinstance(layer, MaxPool):
            before, below, right = borders(layer)
            pads = [before, before, below, right]
            self._add("MaxPool", kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2, pads=pads)
        elif isinstance(layer, AvgPool):
            self._add("GlobalAveragePool")
        else:
            self._add("Flatten", axis=1)
            self._add("Softmax", axis=1)

    def _add(self, operator: str, values: LayerWeights | None = None, **attributes: Any) -> None:
        name = f"node{len(self.nodes)}"
        inputs = [self.nodes[-1].output[0] if self.nodes else INPUT]
        if values is not None:
            for suffix, array in (("weights", values.weights), ("bias", values.biases)):
                self.arrays.append(numpy_helper.from_array(array, f"{name}.{suffix}"))
                inputs.append(f"{name}.{suffix}")
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))

    def _add_activation(self, name: str) -> None:
        if name == "relu":
            self._add("Relu")
        elif name == "leaky":
            self._add("LeakyRelu", alpha=LEAKY_SLOPE)
