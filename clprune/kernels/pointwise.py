"""Copies, per-channel scaling, residual sums and activations (`templates/pointwise.cl.mako`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune import quirks
from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.darknet.reorder import Reorder
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import Shape, ceil_div, round_up
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, FloatArray, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import Constraint, values
from clprune.kernels.workload import Workload
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays

#: What starting a work-group costs on a CPU, in the time of a work-item: measured with Intel's runtime.
_GROUP_COST = 26


@dataclass(frozen=True, kw_only=True)
class PointwiseTile:
    """Parameters of the template: work-items of a work-group along a row, and rows."""

    group_n: int = field(metadata=values(1, 16, 64))
    group_rows: int = field(default=1, metadata=values(1, 4))


@dataclass(frozen=True, kw_only=True)
class PointwiseOperation:
    """`output = activate(alpha * (input * scale + shift) + beta * other)`, see the template for where `other` counts.

    `up` magnifies the input by nearest neighbour; `row_offset`, `column_offset` say where a crop begins;
    `channel_offset` is the first channel of the output that is written (concatenation), `from_channel` the first of
    the input that is read, `channel_count` how many at most. `is_product`: `activate(input * other)` instead, where
    `other` may have one channel or one place only. `order`: the input's values come in another order.
    """

    input: Layout
    output: Layout
    activation: str = "linear"
    is_scaled: bool = False
    other: Layout | None = None
    alpha: float = 1.0
    beta: float = 1.0
    up: int = 1
    row_offset: int = 0
    column_offset: int = 0
    channel_offset: int = 0
    from_channel: int = 0
    channel_count: int | None = None
    is_product: bool = False
    order: Reorder | None = None

    @property
    def channels(self) -> int:
        """Channels that are read and written."""
        room = self.output.shape.channels - self.channel_offset
        given = room if self.order is not None else self.input.shape.channels - self.from_channel
        return min(given, room, room if self.channel_count is None else self.channel_count)

    @property
    def key(self) -> str:
        joined = f"{factor_kind(self)} factors " if self.is_product else "summed "
        kind = "scaled " * self.is_scaled + joined * (self.other is not None) + "reordered " * (self.order is not None)
        shape = self.output.shape
        return f"n{self.output.batch} {self.channels}x{shape.height}x{shape.width} {kind}".strip()

    @property
    def flops(self) -> int:
        return self.output.batch * self.output.shape.elements


def pointwise_reference(
    operation: PointwiseOperation,
    x: npt.NDArray[Any],
    *,
    scale: npt.NDArray[Any] | None = None,
    shift: npt.NDArray[Any] | None = None,
    other: npt.NDArray[Any] | None = None,
) -> Answer:
    """float64 answer `[N, channels, H, W]` for x and other `[N, C, H, W]`, scale and shift `[C]`."""
    shape = operation.output.shape
    if operation.order is not None:
        indices = operation.order.indices
        taken = np.where(indices < 0, 0, x.astype(np.float64).reshape(len(x), -1)[:, indices])
        return activate(operation.activation, taken.reshape(len(x), *shape.dimensions))
    rows = np.arange(shape.height) // operation.up + operation.row_offset
    columns = np.arange(shape.width) // operation.up + operation.column_offset
    first = operation.from_channel
    v = x.astype(np.float64)[:, first : first + operation.channels][:, :, rows][:, :, :, columns]
    if scale is not None and shift is not None:
        v = v * scale.astype(np.float64)[None, :, None, None] + shift.astype(np.float64)[None, :, None, None]
    if other is not None and operation.is_product:
        v = v * other.astype(np.float64)
    elif other is not None:
        step, up = shortcut_steps(operation)
        channels = min(operation.channels, other.shape[1])
        part = other.astype(np.float64)[:, :channels, ::step, ::step]
        target = v[:, :channels, ::up, ::up]
        height, width = min(part.shape[2], target.shape[2]), min(part.shape[3], target.shape[3])
        target[:, :, :height, :width] *= operation.alpha
        target[:, :, :height, :width] += operation.beta * part[:, :, :height, :width]
    return activate(operation.activation, v)


def _offsets(order: Reorder, layout: Layout) -> npt.NDArray[np.int32]:
    """Where in the buffer each value of the result lies, seen from the image's first; -1 for a zero."""
    indices = order.indices
    channel, row, column = np.unravel_index(np.maximum(indices, 0), layout.shape.dimensions)
    offsets = channel * layout.channel_stride + row * layout.pitch + column
    return np.where(indices < 0, -1, offsets).astype(np.int32)


def factor_kind(operation: PointwiseOperation) -> str:
    """What `other` has a factor for: each "value", each place of a "plane", each "channel"; empty: it is added."""
    if not operation.is_product or operation.other is None:
        return ""
    if operation.other.shape.channels < operation.output.shape.channels:
        return "plane"
    return "value" if operation.other.shape == operation.output.shape else "channel"


def shortcut_steps(operation: PointwiseOperation) -> tuple[int, int]:
    """Darknet's (stride, sample) of a shortcut: every `stride`-th value of other meets every `sample`-th of x."""
    if operation.other is None or operation.is_product:
        return 1, 1
    wide, narrow = operation.other.shape.width, operation.output.shape.width
    return max(1, wide // narrow), max(1, narrow // wide)


#: For all kernels of which each work-item computes one value.
VALUE_CONSTRAINTS: tuple[Constraint[PointwiseTile, Any], ...] = (
    Constraint(
        reason="four of five work-items of a row would have nothing to do",
        holds=lambda t, o: t.group_n <= 16 or t.group_n < 5 * o.output.shape.width,
    ),
    Constraint(
        reason="rows of work-items side by side need several items each",
        holds=lambda t, o: t.group_rows == 1 or t.group_n > 1,
    ),
)


class PointwiseKernel(Kernel[PointwiseTile, PointwiseOperation]):
    """See `templates/pointwise.cl.mako`."""

    name = "pointwise"
    template = "pointwise"
    generators = (shortcut_steps, factor_kind)
    tile_type = PointwiseTile
    computes = PointwiseOperation
    constraints = VALUE_CONSTRAINTS
    cpu_tiles = (
        PointwiseTile(group_n=16, group_rows=4),
        PointwiseTile(group_n=64, group_rows=4),
        PointwiseTile(group_n=16),
        PointwiseTile(group_n=1),
    )
    gpu_tiles = (PointwiseTile(group_n=64), PointwiseTile(group_n=16, group_rows=4))

    def launch(self, tile: PointwiseTile, operation: PointwiseOperation) -> Launch:
        shape = operation.output.shape
        planes = operation.channels * operation.output.batch
        return Launch(
            global_size=(round_up(shape.width, tile.group_n), round_up(shape.height, tile.group_rows), planes),
            local_size=(tile.group_n, tile.group_rows, 1),
        )

    def variables(self, tile: PointwiseTile, operation: PointwiseOperation) -> dict[str, Any]:
        step, up = shortcut_steps(operation)
        return {
            "activation": operation.activation,
            "scaled": operation.is_scaled,
            "summed": operation.other is not None and not operation.is_product,
            "factor": factor_kind(operation),
            "ordered": operation.order is not None,
            "up": operation.up,
            "other_step": step,
            "other_up": up,
        }

    def ranked_tiles(self, operation: PointwiseOperation, device: DeviceInfo) -> list[PointwiseTile]:
        """On CPUs, those first that take the least time with the work-groups they need, and the work-items in them."""
        ranked = super().ranked_tiles(operation, device)

        def cost(tile: PointwiseTile) -> int:
            launch = self.launch(tile, operation)
            return math.prod(launch.global_size) * (_GROUP_COST + launch.work_group_size) // launch.work_group_size

        return sorted(ranked, key=cost) if quirks.wants_explicit_vectors(device) else ranked

    def safe_tile(self, operation: PointwiseOperation) -> PointwiseTile:
        return PointwiseTile(group_n=1)

    def arguments(self, tile: PointwiseTile, operation: PointwiseOperation, packed: PackedArrays) -> Arguments:
        """With `scale` and `shift` where the operation has them."""
        layout, other, x = operation.output, operation.other or operation.input, operation.input
        step, _ = shortcut_steps(operation)
        return {
            **({"scale": packed.values, "shift": packed.bias} if operation.is_scaled else {}),
            **({} if operation.order is None else {"order": _offsets(operation.order, x)}),
            "alpha": operation.alpha,
            "beta": operation.beta,
            "batch": layout.batch,
            "out_height": layout.shape.height,
            "out_width": layout.shape.width,
            "row_offset": operation.row_offset,
            "column_offset": operation.column_offset,
            "other_channels": other.shape.channels,
            "other_rows": ceil_div(other.shape.height, step),
            "other_columns": ceil_div(other.shape.width, step),
            **places(x=x, other=other, y=layout),
            "x_origin": x.origin + operation.from_channel * x.channel_stride,
            "y_origin": layout.origin + operation.channel_offset * layout.channel_stride,
        }

    def reference(self, operation: PointwiseOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 answer `[N, channels, H, W]` of the input and, where it is summed, the other; `weights` and `biases`
        scale and shift.
        """
        parameters = {"scale": weights.weights, "shift": weights.biases} if operation.is_scaled else {}
        other = None if operation.other is None else inputs[1]
        return pointwise_reference(operation, inputs[0], other=other, **parameters)

    def input_layouts(self, operation: PointwiseOperation) -> dict[str, Layout]:
        return {"x": operation.input} | ({} if operation.other is None else {"other": operation.other})

    def takes_weights(self, operation: PointwiseOperation) -> bool:
        return operation.is_scaled

    def store_reference(self, operation: PointwiseOperation, answer: Answer, output: npt.NDArray[Any]) -> None:
        first = operation.channel_offset
        output[:, first : first + operation.channels] = answer

    def error_terms(self, operation: PointwiseOperation) -> int:
        return 2

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """With scale and shift `[channels]`, and another tensor, where the operation has them."""
        inputs = {"x": _random(rng, operation.input)}
        if operation.is_scaled:
            channels = operation.input.shape.channels
            inputs |= {name: rng.standard_normal(channels, np.float32) for name in ("scale", "shift")}
        if operation.other is not None:
            inputs["other"] = _random(rng, operation.other)
        return inputs

    def sample_weights(self, operation: PointwiseOperation, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """Scale and shift."""
        return LayerWeights(weights=inputs["scale"], biases=inputs["shift"]) if operation.is_scaled else NO_WEIGHTS

    def sample_operations(self) -> tuple[PointwiseOperation, ...]:
        small, wide = Shape(channels=3, height=5, width=7), Shape(channels=4, height=10, width=14)
        padded = padded_layout(batch=2, shape=small, pitch=9, padding=2)
        plain = contiguous_layout(batch=2, shape=small)
        copies = (
            PointwiseOperation(input=plain, output=padded),
            PointwiseOperation(input=plain, output=contiguous_layout(batch=2, shape=wide), up=2, channel_offset=1),
            PointwiseOperation(
                input=contiguous_layout(batch=2, shape=wide),
                output=padded_layout(batch=2, shape=Shape(channels=4, height=6, width=9), pitch=10, padding=1),
                row_offset=2,
                column_offset=3,
                is_scaled=True,
            ),
            PointwiseOperation(input=plain, output=plain, other=contiguous_layout(batch=2, shape=wide), alpha=0.5),
            PointwiseOperation(
                input=contiguous_layout(batch=2, shape=wide),
                output=contiguous_layout(batch=2, shape=wide),
                other=plain,
                beta=-1.5,
                activation="leaky",
            ),
        )
        values, wide_plain = contiguous_layout(batch=2, shape=small), contiguous_layout(batch=2, shape=wide)
        factors = (small, replace(small, channels=1), Shape(channels=3, height=1, width=1))
        products = (
            PointwiseOperation(
                input=padded, output=plain, other=contiguous_layout(batch=2, shape=factor), is_product=True
            )
            for factor in factors
        )
        square = Shape(channels=4, height=6, width=4)
        spread = padded_layout(batch=2, shape=square, pitch=6, padding=1)
        orders = (
            (Shape(channels=16, height=3, width=2), Reorder(kind="reorg", shape=square, stride=2)),
            (Shape(channels=1, height=12, width=8), Reorder(kind="reorg", shape=square, stride=2, reverse=True)),
            (Shape(channels=99, height=1, width=1), Reorder(kind="pad", shape=square, extra=3)),
            (Shape(channels=4, height=9, width=4), Reorder(kind="zeros", shape=square, border=(1, -1, 2, 1))),
            (Shape(channels=4, height=5, width=8), Reorder(kind="reflect", shape=square, border=(2, 1, -3, 3))),
        )
        reordered = (
            PointwiseOperation(input=spread, output=contiguous_layout(batch=2, shape=shape), order=order)
            for shape, order in orders
        )
        part = PointwiseOperation(input=wide_plain, output=values, from_channel=1, channel_count=2, channel_offset=1)
        return (
            *copies,
            part,
            *products,
            *reordered,
            *(PointwiseOperation(input=plain, output=padded, activation=name) for name in ACTIVATIONS),
        )


def _random(rng: np.random.Generator, layout: Layout) -> npt.NDArray[np.float32]:
    shape = layout.shape
    return 3 * rng.standard_normal((layout.batch, shape.channels, shape.height, shape.width), np.float32)


POINTWISE = PointwiseKernel()
