"""An ONNX graph in the making. Its tensors are names; each is planes `[N, C, H, W]` or a vector `[N, elements]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape


@dataclass(eq=False)
class Graph:
    """Nodes and constants so far. `scope` begins the names of what is added next: the layer that it belongs to."""

    scope: str = ""
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    _vectors: set[str] = field(default_factory=set)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return that; what came of vectors is one, unless it is reshaped."""
        output = output or f"{self.scope}/{len(self.nodes)}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        if operator == "Flatten" or (operator != "Reshape" and inputs[0] in self._vectors):
            self._vectors.add(output)
        return output

    def split(self, x: str, sizes: Sequence[int], *, axis: int) -> tuple[str, ...]:
        """Parts of `x` along `axis`."""
        name = f"{self.scope}/{len(self.nodes)}/Split"
        outputs = [f"{name}/{number}" for number in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.integers(*sizes)], outputs, name=name, axis=axis))
        self._vectors.update(outputs if x in self._vectors else ())
        return tuple(outputs)

    def constant(self, values: npt.NDArray[Any], name: str = "") -> str:
        """Add an array; `name` is its own within the scope, such as that of a layer's array."""
        name = f"{self.scope}.{name or len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def number(self, value: float) -> str:
        """Add one float32."""
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Add a list of whole numbers: a shape, axes or places."""
        return self.constant(np.array(values, np.int64))

    def reshape(self, x: str, *sides: int) -> str:
        """`x` `[N, ...]` as `[N, *sides]`."""
        return self.add("Reshape", x, self.integers(0, *sides))

    def slice(self, x: str, *, first: Sequence[int], end: Sequence[int], steps: Sequence[int] = (1, 1, 1)) -> str:
        """A part of planes, by channel, row and column."""
        places = (first, end, (1, 2, 3), steps)
        return self.add("Slice", x, *(self.integers(*values) for values in places))

    def pad(
        self, x: str, *, before: Sequence[int], after: Sequence[int], value: float = 0, mode: str = "constant"
    ) -> str:
        """Planes with `value`, or what `mode` says, around them, by channel, row and column."""
        around = [self.number(value)] if value else []
        given: dict[str, Any] = {} if mode == "constant" else {"mode": mode}
        if not any((*before, *after)):
            return x
        return self.add("Pad", x, self.integers(0, *before, 0, *after), *around, **given)

    def planes(self, x: str, shape: Shape) -> str:
        """`x` as `[N, C, H, W]`."""
        return self.reshape(x, shape.channels, shape.height, shape.width) if x in self._vectors else x

    def vector(self, x: str) -> str:
        """`x` as `[N, elements]`, in CHW order."""
        return x if x in self._vectors else self.add("Flatten", x, axis=1)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the operators of one layer go: the graph, what its sources deliver, and the layer's values if any."""

    graph: Graph
    sources: tuple[str, ...]
    shapes: tuple[Shape, ...]
    values: LayerWeights | None

    @property
    def x(self) -> str:
        """What the first source delivers, in either form."""
        return self.sources[0]

    @property
    def planes(self) -> tuple[str, ...]:
        """What all sources deliver, as `[N, C, H, W]`."""
        return tuple(self.graph.planes(x, shape) for x, shape in zip(self.sources, self.shapes, strict=True))
