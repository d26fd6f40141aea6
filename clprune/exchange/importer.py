"""The tensors of an ONNX graph, node by node: each gives constants, other views of what there is, or layers.

What operators do is told by functions in tables (`Operators`), which know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from clprune.darknet.activations import ACTIVATIONS
from clprune.errors import CfgError, ClpruneError, ExchangeError, UsageError, shown
from clprune.exchange.feature import (
    LOWEST,
    PROBES,
    BrokenLine,
    Feature,
    Indices,
    activation_of,
    broken_line_of,
    channels_last,
    exponential_of,
    is_square,
    line_of,
    whole,
)
from clprune.exchange.parts import part_of, sides_of
from clprune.exchange.read import MAX_VALUES, Array, attributes_of, evaluate, faults_of, largest_result
from clprune.exchange.sketch import Sketch
from clprune.geometry import Shape

#: Operators that are evaluated where all that they take is known.
FOLDED = frozenset(
    """
    Add And Cast Ceil Concat Constant ConstantOfShape DequantizeLinear Div Equal Exp Expand Flatten Floor Gather Greater
    Identity Less Log Max Min Mod Mul Neg Not Or Pow QuantizeLinear Reciprocal ReduceProd Reshape Shape Size Slice Split
    Sqrt Squeeze Sub Transpose Unsqueeze Where
    """.split()  # noqa: SIM905  # a list of so many words is harder to read
)

#: What makes activations codes, beside operators that are called QLinear and what they do.
_QUANTIZED = frozenset(["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"])

#: What an operator makes of a node: one tensor, or a list of all outputs.
Function = Callable[["Importer", NodeProto], Any]


class Operators(dict[str, Function]):
    """Operators and what they make of a node."""

    def of(self, *names: str) -> Callable[[Function], Function]:
        """Decorates the function of one operator or several."""

        def register(function: Function) -> Function:
            self.update(dict.fromkeys(names, function))
            return function

        return register


@dataclass(frozen=True, kw_only=True)
class ChannelSum:
    """What a convolution with one filter sums up: the channels of a tensor, or their squares, each times `share`."""

    of: Feature
    share: float
    is_square: bool


@dataclass(eq=False)
class Importer:
    """The tensors so far, by name: constants and features."""

    path: Path
    opset: int
    sketch: Sketch
    operators: Operators
    tensors: dict[str, Array | Feature]
    most_values: int = field(init=False)
    _left: int = field(init=False)
    #: Layers that are sums of channels.
    sums: dict[int, ChannelSum] = field(default_factory=dict)
    _made: dict[Feature, Feature] = field(default_factory=dict)
    _wholes: dict[Shape, Indices] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stored = sum(tensor.size for tensor in self.tensors.values() if isinstance(tensor, np.ndarray))
        self.most_values = max(MAX_VALUES // 4, 2 * stored)
        self._left = max(2 * MAX_VALUES, 4 * stored)

    # --- what a node takes ---

    def inputs(self, node: NodeProto) -> list[Array | Feature | None]:
        """What the node takes, None for what is left out. Raises UsageError for a tensor that no node gave."""
        for name in node.input:
            if name and name not in self.tensors:
                raise UsageError(f"takes {shown(name)!r}, which nothing before it gives")
        return [self.tensors[name] if name else None for name in node.input]

    def feature(self, node: NodeProto, index: int = 0) -> Feature:
        """An input that depends on the network's. Raises UsageError."""
        inputs = self.inputs(node)
        found = inputs[index] if index < len(inputs) else None
        if not isinstance(found, Feature):
            raise UsageError(f"input {index} is {'a constant' if found is not None else 'missing'}: expected a tensor")
        return found

    def constant(self, node: NodeProto, index: int) -> Array | None:
        """An input that is known, None where it is left out. Raises UsageError for one that is not."""
        inputs = self.inputs(node)
        found = inputs[index] if index < len(inputs) else None
        if isinstance(found, Feature):
            raise UsageError(f"input {index} depends on the network's input: expected a constant")
        return found

    def floats(self, node: NodeProto, index: int) -> npt.NDArray[np.float32]:
        """An input of weights, which must be there, as float32. Raises UsageError."""
        found = self.constant(node, index)
        if found is None or (found.dtype.kind not in "fV" and found.dtype.name != "bfloat16"):
            raise UsageError(f"input {index} is {'missing' if found is None else found.dtype}: expected weights")
        return np.ascontiguousarray(found, np.float32)

    def option(self, node: NodeProto, name: str, index: int, default: Any = None) -> Any:
        """What earlier versions of an operator take as attribute `name` and later ones as a constant input."""
        found = self.constant(node, index)
        if found is not None:
            return found.tolist()
        return attributes_of(node).get(name, default)

    # --- what a feature stands for ---

    def delivered(self, layer: int, places: Indices | None = None) -> Feature:
        """The tensor of all that a layer delivers, `[1, C, H, W]` or as `places` say."""
        shape = self.sketch.shape(layer)
        if shape.elements > MAX_VALUES:
            raise UsageError(f"gives {shape}: expected at most {MAX_VALUES} values")
        return Feature(layer=layer, places=self._whole(shape) if places is None else places)

    def _whole(self, shape: Shape) -> Indices:
        """One array for all layers of a shape: most tensors are whole, and large."""
        if shape not in self._wholes:
            self._hold(shape.elements)
            self._wholes[shape] = whole(shape)
        return self._wholes[shape]

    def resolved(self, feature: Feature) -> Feature:
        """The same tensor as a function of a layer that layers compute. Raises UsageError."""
        is_changed = (feature.places == LOWEST).any() or feature.at_probes[PROBES == 0].any()
        if (feature.places < 0).any() and feature.samples is not None and is_changed:
            raise UsageError("comes after a function of a border, which makes it something else")
        if activation_of(feature.at_probes) or line_of(feature.at_probes):
            return feature
        if feature.otherwise is not None:
            try:
                return self.resolved(feature.otherwise())
            except UsageError:
                pass  # what is open may be computed all the same
        if exponential_of(feature.at_probes) is not None:
            return feature
        if is_square(feature.at_probes) or broken_line_of(feature.at_probes) is not None:
            return feature
        supported = ", ".join(sorted(ACTIVATIONS))
        raise UsageError(f"comes after operators that no activation of clprune equals; supported are {supported}")

    def applied(self, feature: Feature) -> Feature:
        """The same tensor with its function computed by a layer. Raises UsageError where no layer does."""
        if feature.samples is None:
            return feature
        if feature not in self._made:
            self._made[feature] = self._apply(self.resolved(feature))
        return self._made[feature]

    def _apply(self, feature: Feature) -> Feature:
        name, straight = activation_of(feature.at_probes), line_of(feature.at_probes)
        layer = feature.layer
        if name is None and straight is not None:
            layer = self.affine(layer, *straight)
        elif name is not None:
            layer = self.sketch.add("activation", layer, activation=name) if name != "linear" else layer
        elif (shares := exponential_of(feature.at_probes)) is not None:
            parts = [self.sketch.add("activation", layer, activation=way) for way in ("elu", "relu")]
            parts = [self.affine(part, share, 0.0) for part, share in zip(parts, shares, strict=True)]
            layer = self.sketch.add("shortcut", *parts, activation="linear")
        elif is_square(feature.at_probes):
            layer = self.sketch.add("sam", layer, layer, activation="linear")
        else:
            line = broken_line_of(feature.at_probes)
            assert line is not None  # it is resolved
            layer = self._broken(layer, line)
        return Feature(layer=layer, places=feature.places)

    def _broken(self, layer: int, line: BrokenLine) -> int:
        """A sum of lines that are cut off below."""
        total = self.affine(layer, line.slope, line.offset) if line.slope or line.offset else None
        for place, change in line.corners:
            shifted = self.affine(layer, 1.0, -place) if place else layer
            part = self.affine(self.sketch.add("activation", shifted, activation="relu"), change, 0.0)
            total = part if total is None else self.sketch.add("shortcut", part, total, activation="linear")
        assert total is not None  # there is a corner
        return total

    def affine(self, layer: int, factor: float | Array, offset: float) -> int:
        """`factor * x + offset`, the factor one of each channel or of all."""
        channels = self.sketch.shape(layer).channels
        factors, offsets = (np.broadcast_to(np.float32(value), channels).copy() for value in (factor, offset))
        return self.sketch.add_affine(layer, factors=factors, offsets=offsets)

    def planes(self, feature: Feature) -> int:
        """The layer that delivers the tensor as it is, `[1, C, H, W]`. Raises UsageError."""
        feature = self.applied(feature)
        if feature.places.ndim != 4:
            raise UsageError(f"takes a tensor {sides_of(feature)}: expected [N, C, H, W]")
        if feature.places is self._wholes.get(self.sketch.shape(feature.layer)):
            return feature.layer
        if feature not in self._made:
            self._made[feature] = self.delivered(part_of(self.sketch, feature))
        return self._made[feature].layer

    def is_channels_last(self, feature: Feature) -> bool:
        """Whether the last axis are all channels of a layer and those before it its places in order."""
        shape = self.sketch.shape(feature.layer)
        last = channels_last(shape).reshape(-1, shape.channels)
        return feature.places.size == last.size and np.array_equal(feature.places.reshape(-1, shape.channels), last)

    # --- nodes ---

    def read(self, node: NodeProto) -> None:
        """Take in one node: its outputs are tensors from now on. Raises ExchangeError naming it."""
        where = f"node {shown(node.name or node.output[0])!r} ({shown(node.op_type)})"
        try:
            with faults_of(self.path, where):
                results = self._results(node)
                self._charge(node, results)
        except CfgError as error:
            raise ExchangeError(f"{where}: {str(error).partition(': ')[2]}", path=self.path) from error
        except ExchangeError:
            raise
        except ClpruneError as error:
            raise ExchangeError(f"{where} {error}", path=self.path) from error
        self.tensors.update((name, value) for name, value in zip(node.output, results, strict=False) if name)

    def _charge(self, node: NodeProto, results: Sequence[Array | Feature]) -> None:
        """Count what is held from now on; `_wholes` count where they are made. Raises UsageError as `_hold` does."""
        known = [*self._wholes.values(), *(_values(value) for value in self.inputs(node) if value is not None)]
        for found in map(_values, results):
            self._hold(0 if any(found is one for one in known) else found.size)

    def _hold(self, count: int) -> None:
        """Count so many values more. Raises UsageError where all nodes together made too much of little."""
        self._left -= count
        if self._left < 0:
            raise UsageError("and those before it make more values than could be held: expected a smaller model")

    def _results(self, node: NodeProto) -> list[Any]:
        inputs = self.inputs(node)
        if node.op_type == "Shape" and isinstance(inputs[0], Feature):
            return evaluate(node, [inputs[0].places], opset=self.opset)
        if node.op_type in FOLDED and not any(isinstance(value, Feature) for value in inputs):
            return self.folded(node, [value for value in inputs if not isinstance(value, Feature)])
        function = self.operators.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if function is None and (node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")):
            raise UsageError("is not supported: expected activations of float, as before the model was quantized")
        if function is None:
            raise UsageError(f"is not supported: expected one of {', '.join(sorted(self.operators))}")
        found = function(self, node)
        return found if isinstance(found, list) else [found]

    def folded(self, node: NodeProto, inputs: list[Array | None]) -> list[Array]:
        """The constants that come of constants."""
        given = [value for value in inputs if value is not None]
        size = largest_result(node.op_type, given, attributes_of(node)) if given else 0
        if size > self.most_values:
            raise UsageError(f"makes a constant of {size} values")
        return evaluate(node, inputs, opset=self.opset)


def _values(tensor: Array | Feature) -> Array:
    return tensor.places if isinstance(tensor, Feature) else tensor
