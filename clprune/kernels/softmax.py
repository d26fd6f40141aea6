"""Softmax over groups of consecutive values (`templates/softmax.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, FloatArray, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.tile import Constraint, values
from clprune.kernels.workload import Workload
from clprune.layout import Layout, contiguous_layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class SoftmaxTile:
    """Its one parameter: work-items of a work-group."""

    group_n: int = field(metadata=values(1, 64, 128, 256))


@dataclass(frozen=True, kw_only=True)
class SoftmaxOperation:
    """`count` softmaxes over `length` consecutive values each, at one temperature."""

    count: int
    length: int
    temperature: float = 1.0

    @property
    def output(self) -> Layout:
        """All values side by side, as the input's are."""
        return contiguous_layout(batch=self.count, shape=Shape(channels=self.length, height=1, width=1))

    @property
    def key(self) -> str:
        return f"count{self.count} length{self.length}"

    @property
    def flops(self) -> int:
        """One exponential, two subtractions or additions, a division and a comparison per value."""
        return 5 * self.count * self.length


def softmax_reference(x: npt.NDArray[Any], *, temperature: float = 1.0) -> Answer:
    """float64 answer of x's shape; the last axis is one softmax."""
    values = x.astype(np.float64) / temperature
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    answer: Answer = shifted / shifted.sum(axis=-1, keepdims=True)
    return answer


class SoftmaxKernel(Kernel[SoftmaxTile, SoftmaxOperation]):
    """See `templates/softmax.cl.mako`."""

    name = "softmax"
    template = "softmax"
    tile_type = SoftmaxTile
    computes = SoftmaxOperation
    constraints = (
        Constraint(
            reason="the work-group has more than twice as many items as there are values",
            holds=lambda t, o: t.group_n <= 64 or t.group_n < 2 * o.length,
        ),
    )
    cpu_tiles = (SoftmaxTile(group_n=1),)
    gpu_tiles = (SoftmaxTile(group_n=64), SoftmaxTile(group_n=128))

    def local_mem_bytes(self, tile: SoftmaxTile, operation: SoftmaxOperation) -> int:
        return 4 * tile.group_n if tile.group_n > 1 else 0

    def launch(self, tile: SoftmaxTile, operation: SoftmaxOperation) -> Launch:
        return Launch(global_size=(operation.count * tile.group_n,), local_size=(tile.group_n,))

    def safe_tile(self, operation: SoftmaxOperation) -> SoftmaxTile:
        return SoftmaxTile(group_n=1)

    def arguments(self, tile: SoftmaxTile, operation: SoftmaxOperation, packed: PackedArrays) -> Arguments:
        return {"length": operation.length, "scale": 1.0 / operation.temperature}

    def reference(self, operation: SoftmaxOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        rows = inputs[0].reshape(operation.count, operation.length)
        return softmax_reference(rows, temperature=operation.temperature)

    def error_terms(self, operation: SoftmaxOperation) -> int:
        return operation.length

    def input_layouts(self, operation: SoftmaxOperation) -> dict[str, Layout]:
        return {"x": operation.output}

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """Values far apart."""
        return {"x": 5 * rng.standard_normal(operation.output.dimensions, np.float32)}

    def sample_operations(self) -> tuple[SoftmaxOperation, ...]:
        return (
            SoftmaxOperation(count=1, length=1),
            SoftmaxOperation(count=3, length=7),
            SoftmaxOperation(count=2, length=131, temperature=2.5),
            SoftmaxOperation(count=5, length=1000),
        )


SOFTMAX = SoftmaxKernel()
