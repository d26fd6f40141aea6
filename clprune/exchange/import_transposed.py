"""What ONNX's transposed convolutions become: a convolution that makes all outputs of a square of `stride` x `stride`
places as channels, depth to space, and a crop.

Output o = stride * q + r of a side is the sum of x[q + e] * w[k] over the taps k with r + pad - k * dilation = stride *
e. So each r has a convolution of stride 1 of its own, over offsets e; they share one window. No product is made that a
transposed convolution would not make, but for zeros where the numbers of taps differ.

Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, attributes_of
from clprune.geometry import Shape

TRANSPOSED = Operators()

#: More is no layer of anybody's, and takes long to find taps for.
MAX_STRIDE = 64

#: Taps of a side times its stride: as many are gone through to find the smallest window.
MAX_TAPS = 100_000


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One side of it: `taps` (place r in a square, offset e, k); squares `count`; the first output is at `start`."""

    taps: tuple[tuple[int, int, int], ...]
    count: int
    start: int
    inputs: int
    outputs: int

    @property
    def first(self) -> int:
        """The offset of the window's first place; none begins behind the input's."""
        return min(0, *(offset for _, offset, _ in self.taps))

    @property
    def size(self) -> int:
        """Places of the window, which reaches at least to the input's end."""
        last = max(self.inputs - self.count, *(offset for _, offset, _ in self.taps))
        return last - self.first + 1

    @property
    def border_after(self) -> int:
        return self.count + self.first + self.size - 1 - self.inputs


def _side(*, inputs: int, outputs: int, size: int, stride: int, dilation: int, pad: int) -> _Side:
    """The way with the smallest window: squares may begin up to `stride` - 1 places before the first output."""

    def beginning(start: int) -> _Side:
        places = [(tap, (tap * dilation + start - pad) % stride) for tap in range(size)]
        taps = [(place, (pad - start + place - tap * dilation) // stride, tap) for tap, place in places]
        return _Side(
            taps=tuple(taps), count=-(-(outputs + start) // stride), start=start, inputs=inputs, outputs=outputs
        )

    return min(map(beginning, range(stride)), key=lambda side: (side.size, side.count))


@TRANSPOSED.of("ConvTranspose")
def _transposed(importer: Importer, node: NodeProto) -> Any:
    layer, weights = importer.planes(importer.feature(node)), importer.floats(node, 1)
    shape, attributes = importer.sketch.shape(layer), attributes_of(node)
    groups = attributes.get("group", 1)
    if weights.ndim != 4 or groups < 1 or len(weights) != shape.channels or shape.channels % groups:
        raise UsageError(f"has weights of shape {weights.shape} and group={groups} for {shape.channels} channels")
    sides = _sides(attributes, shape, weights.shape[2:])
    stride = attributes.get("strides", [1, 1])[0]
    filters = weights.shape[1] * groups
    if filters * stride**2 * shape.channels * sides[0].size * sides[1].size > MAX_VALUES:
        raise UsageError(f"makes {filters} channels of {shape.channels}: expected at most {MAX_VALUES} weights")
    biases = importer.floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(filters, np.float32)
    if biases.shape != (filters,):
        raise UsageError(f"has biases of shape {biases.shape}: expected {filters}")
    rows, columns = sides
    # channels as depth to space takes them: those of a place side by side
    made = np.zeros((stride, stride, filters, shape.channels, rows.size, columns.size), np.float32)
    for group, part in enumerate(np.split(weights, groups)):
        takes = slice(group * len(part), (group + 1) * len(part))
        gives = slice(group * part.shape[1], (group + 1) * part.shape[1])
        for row, y, tap_y in rows.taps:
            for column, x, tap_x in columns.taps:
                place = (row, column, gives, takes, y - rows.first, x - columns.first)
                made[place] = part[:, :, tap_y, tap_x].T
    values = LayerWeights(
        weights=made.reshape(-1, shape.channels, rows.size, columns.size), biases=np.tile(biases, stride**2)
    )
    options = {
        "filters": len(values.weights), "size_y": rows.size, "size_x": columns.size, "padding_top": -rows.first,
        "padding_left": -columns.first, "padding_bottom": rows.border_after, "padding_right": columns.border_after,
        "activation": "linear",
    }  # fmt: skip
    layer = importer.sketch.add("convolutional", layer, values=values, **options)
    if stride > 1:
        layer = importer.sketch.add("reorg", layer, stride=stride, reverse=1)
    whole = importer.delivered(layer)
    ends = [side.start + side.outputs for side in sides]
    wanted = replace(whole, places=whole.places[:, :, rows.start : ends[0], columns.start : ends[1]])
    return importer.delivered(importer.planes(wanted))  # whatever follows may fold it, as group normalization does


def _sides(attributes: dict[str, Any], shape: Shape, size: Sequence[int]) -> list[_Side]:
    """Rows and columns. Raises UsageError for attributes that do not fit."""
    strides, dilations, added = (
        attributes.get(name, default) for name, default in (("strides", [1, 1]), ("dilations", [1, 1]),
                                                            ("output_padding", [0, 0]))
    )  # fmt: skip
    if len(strides) != 2 or len(dilations) != 2 or len(added) != 2 or min(*strides, *dilations, *size) < 1:
        raise UsageError(f"has strides={strides}, dilations={dilations}: expected two sides, a layer of planes")
    if strides[0] != strides[1] or strides[0] > MAX_STRIDE or min(added) < 0:
        raise UsageError(f"has strides={strides}, output_padding={added}: expected one stride, at most {MAX_STRIDE}")
    if max(size) * strides[0] > MAX_TAPS:
        raise UsageError(
            f"has weights of {list(size)} places and strides={strides}: expected a product of at most {MAX_TAPS}"
        )
    inputs = (shape.height, shape.width)
    full = [
        stride * (side - 1) + more + (taps - 1) * dilation + 1
        for side, stride, dilation, taps, more in zip(inputs, strides, dilations, size, added, strict=True)
    ]
    pads = _pads(attributes, full, [stride * side for stride, side in zip(strides, inputs, strict=True)])
    outputs = [whole - before - after for whole, before, after in zip(full, pads[:2], pads[2:], strict=True)]
    if min(*pads, *outputs) < 0 or 0 in outputs or shape.channels * max(outputs) ** 2 > MAX_VALUES:
        raise UsageError(f"has pads={pads} and gives planes of {outputs}: expected none negative, and values in planes")
    return [
        _side(inputs=inputs[axis], outputs=outputs[axis], size=size[axis], stride=strides[axis],
              dilation=dilations[axis], pad=pads[axis])
        for axis in (0, 1)
    ]  # fmt: skip


def _pads(attributes: dict[str, Any], full: Sequence[int], same: Sequence[int]) -> list[int]:
    """What is cut off at the top, left, bottom and right of all that is summed up."""
    way, wanted = attributes.get("auto_pad", "NOTSET") or "NOTSET", attributes.get("output_shape")
    if way not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise UsageError(f"has auto_pad={way}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    if way.startswith("SAME") and wanted is None:
        wanted = same
    if wanted is None:
        pads = list(attributes.get("pads", [0, 0, 0, 0])) if way == "NOTSET" else [0, 0, 0, 0]
        if len(pads) != 4:
            raise UsageError(f"has pads={pads}: expected four")
        return pads
    totals = [whole - side for whole, side in zip(full, wanted[-2:], strict=True)]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*smaller, *larger] if way == "SAME_UPPER" else [*larger, *smaller]
