"""The kernel of `[clamp]` (`clamp_values.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape, ceil_div
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import values
from clprune.layout import Layout, padded_layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class ClampTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16))
    group_n: int = field(default=1, metadata=values(1, 64))


@dataclass(frozen=True, kw_only=True)
class ClampOperation:
    """One use of the kernel in a network: where its tensors lie, and the bounds."""

    input: Layout
    output: Layout
    low: float
    high: float

    @property
    def key(self) -> str:
        shape = self.input.shape
        return f"batch{self.input.batch} channels{shape.channels} height{shape.height} width{shape.width}"

    @property
    def flops(self) -> int:
        """Two comparisons per value."""
        return 2 * self.input.batch * self.input.shape.elements


class ClampKernel(Kernel[ClampTile, ClampOperation]):
    """See `clamp_values.cl.mako`."""

    name = "clamp_values"  # `clamp` is a function of OpenCL C
    template = "clamp_values"
    template_folders = (Path(__file__).parent,)
    tile_type = ClampTile
    constraints = ()
    cpu_tiles = (ClampTile(vector_width=8),)
    gpu_tiles = (ClampTile(vector_width=1, group_n=64),)

    def launch(self, tile: ClampTile, operation: ClampOperation) -> Launch:
        shape = operation.input.shape
        vectors = ceil_div(ceil_div(shape.width, tile.vector_width), tile.group_n) * tile.group_n
        planes = shape.channels * operation.input.batch
        return Launch(global_size=(vectors, shape.height, planes), local_size=(tile.group_n, 1, 1))

    def variables(self, tile: ClampTile, operation: ClampOperation) -> dict[str, Any]:
        return {"low": operation.low, "high": operation.high}

    def safe_tile(self, operation: ClampOperation) -> ClampTile:
        return ClampTile(vector_width=1)

    def arguments(self, tile: ClampTile, operation: ClampOperation, packed: PackedArrays) -> Arguments:
        """Beside the tensors `x` and `y`; `packed` is what `pack` makes of weights, and there are none."""
        sizes = {"batch": operation.input.batch, "width": operation.input.shape.width}
        return {**sizes, **places(x=operation.input, y=operation.output)}

    def reference(self, operation: ClampOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        answer: Answer = np.clip(inputs[0].astype(np.float64), operation.low, operation.high)
        return answer

    def sample_operations(self) -> tuple[ClampOperation, ...]:
        """Small odd shapes, with and without padding: what the test suites run on every driver."""
        shapes = ((1, 1, 1, 1), (2, 3, 7, 33), (3, 5, 9, 16))
        operations = []
        for padding, (batch, channels, height, width) in enumerate(shapes):
            shape = Shape(channels=channels, height=height, width=width)
            layout = padded_layout(batch=batch, shape=shape, pitch=width + padding, padding=padding)
            operations.append(ClampOperation(input=layout, output=layout, low=-0.5, high=0.25))
        return tuple(operations)


CLAMP = ClampKernel()
