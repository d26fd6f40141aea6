"""Other orders of an image's values: darknet's `reorg_cpu` and `flatten` (blas.c and reorg_layer.c), and borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.geometry import Shape

#: How a border is filled -> what numpy calls that.
BORDERS = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@dataclass(frozen=True, kw_only=True)
class Reorder:
    """Value i of the result is value `indices[i]` of the input, both flattened in CHW order; -1 stands for a zero.

    `kind`: "reorg", `reorg_cpu` called with the sizes `shape` and the `stride`; "flatten", to HWC order for an input of
    `shape`; "pad", the input with `extra` zeros behind; one of `BORDERS`, planes with a `border` (top, left, bottom,
    right) around them, or cut off where it is negative. `reverse` is the way back.
    """

    kind: str
    shape: Shape
    stride: int = 1
    reverse: bool = False
    extra: int = 0
    border: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def indices(self) -> NDArray[np.int64]:
        """The index for each value of the result."""
        channels, height, width = self.shape.dimensions
        if self.kind in BORDERS:
            return self._bordered.reshape(-1)
        if self.kind == "pad":
            return np.concatenate([np.arange(self.shape.elements), np.full(self.extra, -1)])
        if self.kind == "flatten":
            there = np.arange(self.shape.elements).reshape(channels, height * width).T.reshape(-1)
        else:
            # reorg_cpu sees planes of `stride` times both sides, and channels without the places inside such a square.
            stride = self.stride
            inner = channels // stride**2
            large = np.arange(self.shape.elements).reshape(inner, height, stride, width, stride)
            there = large.transpose(2, 4, 0, 1, 3).reshape(-1)
        return np.argsort(there) if self.reverse else there

    @property
    def _bordered(self) -> NDArray[np.int64]:
        top, left, bottom, right = self.border
        channels, height, width = self.shape.dimensions
        planes = np.arange(self.shape.elements).reshape(channels, height, width)
        planes = planes[:, max(-top, 0) : height - max(-bottom, 0), max(-left, 0) : width - max(-right, 0)]
        widths = ((0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
        values: dict[str, Any] = {"constant_values": -1} if self.kind == "zeros" else {}
        mode: Any = BORDERS[self.kind]
        made: NDArray[np.int64] = np.pad(planes, widths, mode, **values)
        return made
