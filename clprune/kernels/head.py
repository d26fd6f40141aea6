"""Heads of detectors, and softmax over trees of classes (`templates/head.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clprune.darknet.activations import activate
from clprune.darknet.kinds.heads import ChannelRun, Head
from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape, round_up
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import Constraint, values
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays

#: How the template calls functions.
_CODES = {"linear": 0, "logistic": 1, "softmax": 2, "l2norm": 3}


@dataclass(frozen=True, kw_only=True)
class HeadTile:
    """Its one parameter: work-items of a work-group, along a row."""

    group_n: int = field(metadata=values(1, 16, 64))


@dataclass(frozen=True, kw_only=True)
class HeadOperation:
    """Another function for each of `runs`, which are all channels; those of softmax are divided by `temperature`."""

    input: Layout
    output: Layout
    runs: tuple[ChannelRun, ...]
    temperature: float = 1.0

    @property
    def key(self) -> str:
        largest = max((run.count for run in self.runs if run.function == "softmax"), default=1)
        return f"n{self.output.batch} {self.output.shape} softmax{largest}"

    @property
    def flops(self) -> int:
        return 5 * self.output.batch * self.output.shape.elements

    @property
    def units(self) -> tuple[ChannelRun, ...]:
        """What one work-item computes: a channel, or a run whose values depend on each other."""
        return tuple(
            part
            for run in self.runs
            for part in ((run,) if run.function in ("softmax", "l2norm") else run.single_channels)
        )


class HeadKernel(Kernel[HeadTile, HeadOperation]):
    """See `templates/head.cl.mako`."""

    name = "head"
    template = "head"
    tile_type = HeadTile
    computes = HeadOperation
    layer_kind = Head
    constraints = (
        Constraint(
            reason="four of five work-items of a row would have nothing to do",
            holds=lambda t, o: t.group_n <= 16 or t.group_n < 5 * o.output.shape.width,
        ),
    )
    cpu_tiles = (HeadTile(group_n=16), HeadTile(group_n=1))
    gpu_tiles = (HeadTile(group_n=64), HeadTile(group_n=16))

    def operation_of(self, layer: Head, *, batch: int, input: Layout, output: Layout) -> HeadOperation:
        return HeadOperation(input=input, output=output, runs=layer.runs)

    def launch(self, tile: HeadTile, operation: HeadOperation) -> Launch:
        shape = operation.output.shape
        count = len(operation.units) * operation.output.batch
        return Launch(
            global_size=(round_up(shape.width, tile.group_n), shape.height, count), local_size=(tile.group_n, 1, 1)
        )

    def safe_tile(self, operation: HeadOperation) -> HeadTile:
        return HeadTile(group_n=1)

    def arguments(self, tile: HeadTile, operation: HeadOperation, packed: PackedArrays) -> Arguments:
        """With `units` `[units, 3]`: first channel, channels, function; and their `scales` `[units]`."""
        layout, units = operation.output, operation.units
        return {
            "units": np.array([(unit.first, unit.count, _CODES[unit.function]) for unit in units], np.int32),
            "scales": np.array([unit.scale for unit in units], np.float32),
            "softmax_scale": 1 / operation.temperature,
            "batch": layout.batch,
            "out_width": layout.shape.width,
            **places(x=operation.input, y=layout),
        }

    def reference(self, operation: HeadOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        answer: Answer = inputs[0].astype(np.float64)
        for run in operation.runs:
            part = answer[:, run.first : run.first + run.count]
            if run.function == "softmax":
                powers = np.exp((part - part.max(axis=1, keepdims=True)) / operation.temperature)
                part[:] = powers / powers.sum(axis=1, keepdims=True)
            elif run.function == "l2norm":
                part[:] = part / np.sqrt(np.square(part).sum(axis=1, keepdims=True))
            else:
                part[:] = run.scale * activate(run.function, part) - (run.scale - 1) / 2
        return answer

    def error_terms(self, operation: HeadOperation) -> int:
        return max(unit.count for unit in operation.units)

    def sample_operations(self) -> tuple[HeadOperation, ...]:
        wide, flat = Shape(channels=9, height=5, width=17), Shape(channels=9, height=1, width=1)
        padded = padded_layout(batch=2, shape=wide, pitch=19, padding=2)
        ends = ((0, 2, "logistic", 1.2), (2, 1, "linear", 1.0), (3, 1, "linear", 2.0), (4, 4, "softmax", 1.0))
        runs = tuple(
            ChannelRun(first=first, count=count, function=function, scale=scale)
            for first, count, function, scale in (*ends, (8, 1, "softmax", 1.0))
        )
        return (
            HeadOperation(input=padded, output=contiguous_layout(batch=2, shape=wide), runs=runs),
            HeadOperation(input=contiguous_layout(batch=2, shape=wide), output=padded, runs=runs),
            HeadOperation(
                input=padded,
                output=contiguous_layout(batch=2, shape=wide),
                runs=(ChannelRun(first=0, count=9, function="l2norm"),),
            ),
            HeadOperation(
                input=contiguous_layout(batch=3, shape=flat),
                output=contiguous_layout(batch=3, shape=flat),
                runs=runs,
                temperature=2.0,
            ),
        )


HEAD = HeadKernel()
