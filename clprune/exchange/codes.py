"""Models whose activations are codes, as float: what quantizes them is taken out of the graph.

Weights keep the values of their codes. A code that cannot be negative did the work of a ReLU, which quantizers leave
out for it, and one that ends where a ReLU6 does that of one; what else lies beyond the codes is not cut off any more.

Source: https://onnx.ai/onnx/operators and ONNX Runtime's ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from clprune.errors import ExchangeError, UsageError, shown
from clprune.exchange.read import attributes_of, faults_of

Array = npt.NDArray[Any]

#: What takes a scale and a zero point behind each tensor -> the operator on float, and how many tensors it takes.
_ON_CODES = {
    "QLinearAdd": ("Add", 2),
    "QLinearMul": ("Mul", 2),
    "QLinearMatMul": ("MatMul", 2),
    "QLinearConv": ("Conv", 2),
    "QGemm": ("Gemm", 2),
    "QLinearSigmoid": ("Sigmoid", 1),
    "QLinearLeakyRelu": ("LeakyRelu", 1),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", 1),
    "QLinearAveragePool": ("AveragePool", 1),
    "QLinearSoftmax": ("Softmax", 1),
}

#: Products of codes in whole numbers -> the operator on float.
_INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}

#: Largest codes whose meaning differs from 6 by less than this share stand for what a ReLU6 cuts off.
_NEAR_SIX = 0.01

_TYPES = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16, TensorProto.INT32)


def with_float_activations(model: ModelProto, path: Any) -> bool:
    """Take what makes codes of activations out of `model`, and say whether there was any.

    Operators that are not known here stay, and are refused when the graph is read. Raises ExchangeError.
    """
    graph = _Graph(model=model, path=path)
    nodes = [part for node in list(model.graph.node) for part in graph.parts(node)]
    if graph.is_changed:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        del model.graph.value_info[:]
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.elem_type in _TYPES and value.name not in graph.constants:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    return graph.is_changed


@dataclass(eq=False)
class _Graph:
    """A graph while its nodes are gone through: what is `known` depends on no input."""

    model: ModelProto
    path: Any
    is_changed: bool = False
    opset: int = field(init=False)
    constants: dict[str, TensorProto] = field(init=False)
    known: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.opset = next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.known = {*self.constants, ""}

    def parts(self, node: NodeProto) -> Iterator[NodeProto]:
        """What takes the place of a node."""
        if not node.output:
            yield node
            return
        if all(name in self.known for name in node.input):
            self.known.update(node.output)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t
            yield node
            return
        what = f"node {shown(node.name or node.output[0])!r} ({shown(node.op_type)})"
        try:
            with faults_of(self.path, what):
                found = self._as_float(node)
        except UsageError as error:
            raise ExchangeError(f"{what} {error}", path=self.path) from error
        self.is_changed = self.is_changed or found is not None
        yield from [node] if found is None else found

    def _as_float(self, node: NodeProto) -> list[NodeProto] | None:
        """The same on float; None for a node that knows no codes."""
        given, name = list(node.input), node.op_type
        if name == "QuantizeLinear":
            code = attributes_of(node).get("output_dtype", 0) or TensorProto.UINT8
            return [self._cut_off(given[0], given[1:], node.output[0], helper.tensor_dtype_to_np_dtype(code))]
        if name == "DequantizeLinear":
            return [helper.make_node("Identity", given[:1], node.output)]
        if name == "DynamicQuantizeLinear":  # as if every code were its value, and the step 1
            rest = (np.float32(1), np.uint8(0))
            return [
                helper.make_node("Identity", given, node.output[:1]),
                *(_constant(value, output) for value, output in zip(rest, node.output[1:], strict=False)),
            ]
        if name in _INTEGER:
            zero = given[3] if len(given) > 3 else ""
            weights = [_constant(np.float32(1), f"{node.output[0]}.one")]
            self.constants[f"{node.output[0]}.one"] = weights[0].attribute[0].t
            weights.append(self._dequantized([given[1], f"{node.output[0]}.one", zero], f"{node.output[0]}.weights",
                                             axis=("Conv", "MatMul").index(_INTEGER[name])))  # fmt: skip
            return [*weights, _copy(node, _INTEGER[name], [given[0], f"{node.output[0]}.weights"], node.output[0])]
        return self._on_codes(node, given) if name in _ON_CODES or name == "QLinearConcat" else None

    def _on_codes(self, node: NodeProto, given: list[str]) -> list[NodeProto]:
        """An operator that takes a scale and a zero point behind each tensor, and those of its output."""
        name, out, attributes = node.op_type, node.output[0], attributes_of(node)
        if attributes.get("channels_last"):
            raise UsageError("has channels_last=1: expected channels first; export it so")
        if name == "QLinearSoftmax" and (attributes.get("opset", self.opset) < 13) != (self.opset < 13):
            raise UsageError(f"is that of opset {attributes['opset']} in a file of {self.opset}: expected the same")
        if name == "QLinearConcat":
            operator, taken, own = "Concat", given[2:], given[:2]
        else:
            operator, count = _ON_CODES[name]
            taken, own = given[: 3 * count], given[3 * count :]
        own = [*own, "", "", ""][:3]  # what is left out at the end
        if operator == "Gemm":  # biases come first
            own = [*own[1:], own[0]]
        found, tensors = [], []
        for number in range(0, len(taken), 3):
            tensor = taken[number]
            if tensor in self.known:
                # weights: one scale for each row of a convolution's filters, or each column of a matrix
                axis = {"Conv": 0, "MatMul": 1, "Gemm": 1 - attributes.get("transB", 0)}.get(operator)
                found.append(self._dequantized(taken[number : number + 3], f"{out}.{number}", axis=axis))
                tensor = f"{out}.{number}"
            tensors.append(tensor)
        if operator in ("Conv", "Gemm") and own[2]:  # biases are codes whose step is the product of the others
            step = self._value(taken[1]).astype(np.float64) * self._value(taken[4]) * attributes.get("alpha", 1.0)
            found.append(_constant((self._value(own[2]) * step).astype(np.float32), f"{out}.biases"))
            tensors.append(f"{out}.biases")
        found.append(_copy(node, operator, tensors, f"{out}.float"))
        if not any(own[:2]):  # it gives float
            return [*found, helper.make_node("Identity", [f"{out}.float"], [out])]
        like = self._value(taken[2]).dtype if taken[2] in self.constants else np.dtype(np.uint8)
        return [*found, self._cut_off(f"{out}.float", own[:2], out, like)]

    def _cut_off(self, x: str, scale_and_zero: list[str], output: str, like: np.dtype[Any]) -> NodeProto:
        """What codes cut off that was meant to be; they are `like` that where no zero point says what they are."""
        zero = scale_and_zero[1] if len(scale_and_zero) > 1 else ""
        codes = self._value(zero) if zero else np.zeros((), like)
        if codes.dtype.kind not in "iu" or codes.size != 1 or int(codes.reshape(-1)[0]) != np.iinfo(codes.dtype).min:
            return helper.make_node("Identity", [x], [output])
        info = np.iinfo(codes.dtype)
        highest = float(np.max(self._value(scale_and_zero[0]))) * (info.max - info.min)
        if abs(highest - 6) > 6 * _NEAR_SIX:
            return helper.make_node("Relu", [x], [output], name=output)
        if self.opset < 11:
            return helper.make_node("Clip", [x], [output], name=output, min=0.0, max=6.0)
        for bound, value in (("low", 0), ("high", 6)):
            tensor = numpy_helper.from_array(np.array(value, np.float32), f"{output}.{bound}")
            self.model.graph.initializer.append(tensor)
        return helper.make_node("Clip", [x, f"{output}.low", f"{output}.high"], [output], name=output)

    def _value(self, name: str) -> Array:
        if name not in self.constants:
            raise UsageError(f"takes {shown(name)!r}: expected a constant scale and zero point")
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def _dequantized(self, given: list[str], output: str, *, axis: int | None = None) -> NodeProto:
        """The values of codes, with a scale and a zero point of all or of each place of an axis."""
        are_constant = all(name in self.constants for name in given if name)
        codes, *steps = (self._value(name) if name and are_constant else np.zeros(()) for name in given)
        if codes.dtype.kind not in "iu":
            attributes: dict[str, Any] = {} if axis is None else {"axis": axis}  # folded when the graph is read
            return helper.make_node("DequantizeLinear", given if given[-1] else given[:-1], [output], **attributes)
        sides = [-1 if place == axis else 1 for place in range(codes.ndim)]
        scale, zero = (step.reshape(sides if step.ndim == 1 and step.size > 1 and axis is not None
                                    else () if step.size == 1 else step.shape) for step in steps)  # fmt: skip
        if np.broadcast_shapes(codes.shape, scale.shape, zero.shape) != codes.shape:
            raise UsageError(
                f"has codes of shape {codes.shape}, scales of {scale.shape}: expected one for each of them"
            )
        return _constant(((codes.astype(np.int64) - zero.astype(np.int64)) * scale).astype(np.float32), output)


def _constant(value: Any, output: str) -> NodeProto:
    return helper.make_node("Constant", [], [output], value=numpy_helper.from_array(np.asarray(value)))


def _copy(node: NodeProto, operator: str, given: list[str], output: str) -> NodeProto:
    attributes = {name: value for name, value in attributes_of(node).items() if name not in ("channels_last", "opset")}
    if operator == "Softmax":
        attributes.setdefault("axis", -1)  # that of older ones on float is 1
    return helper.make_node(operator, given, [output], name=node.name or output, **attributes)
