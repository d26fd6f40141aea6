"""Softmax over groups of consecutive values (`templates/softmax.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.kernels.base import (
    NO_WEIGHTS,
    Answer,
    Arrays,
    Case,
    Constraint,
    DeviceArray,
    Expected,
    Launch,
    Sample,
    TensorKernel,
    Workload,
)
from clprune.kernels.pool import GroupTile
from clprune.kernels.samples import SENTINEL
from clprune.layout import READ_MARGIN


@dataclass(frozen=True, kw_only=True)
class SoftmaxOperation:
    """`count` softmaxes over `length` consecutive values each, at one temperature."""

    count: int
    length: int
    temperature: float = 1.0

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


class SoftmaxKernel(TensorKernel[GroupTile, SoftmaxOperation]):
    """See `templates/softmax.cl.mako`."""

    name = "softmax"
    template = "softmax"
    tile_type = GroupTile
    computes = SoftmaxOperation
    parameters: ClassVar = {"group_n": (1, 64, 128, 256)}
    constraints = (
        Constraint(
            reason="the work-group has more than twice as many items as there are values",
            holds=lambda t, o: t.group_n <= 64 or t.group_n < 2 * o.length,
        ),
    )
    cpu_tiles = (GroupTile(group_n=1),)
    gpu_tiles = (GroupTile(group_n=64), GroupTile(group_n=128))

    def local_mem_bytes(self, tile: GroupTile, operation: SoftmaxOperation) -> int:
        return 4 * tile.group_n if tile.group_n > 1 else 0

    def launch(self, tile: GroupTile, operation: SoftmaxOperation) -> Launch:
        return Launch(global_size=(operation.count * tile.group_n,), local_size=(tile.group_n,))

    def safe_tile(self, operation: SoftmaxOperation) -> GroupTile:
        return GroupTile(group_n=1)

    def arguments(
        self, tile: GroupTile, operation: SoftmaxOperation, *, x: DeviceArray, y: DeviceArray, **extras: DeviceArray
    ) -> dict[str, DeviceArray]:
        return {"x": x, "y": y, "length": operation.length, "scale": 1.0 / operation.temperature}

    def reference(self, operation: SoftmaxOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        rows = inputs[0].reshape(operation.count, operation.length)
        return softmax_reference(rows, temperature=operation.temperature)

    def error_terms(self, operation: SoftmaxOperation) -> int:
        return operation.length

    def sample(self, operation: SoftmaxOperation, workload: Workload) -> Sample:
        rng = np.random.default_rng(workload.seed)
        x = 5 * rng.standard_normal((operation.count, operation.length), np.float32)
        return Sample(inputs={"x": x}, answer=self.reference(operation, (x,)))

    def case(self, tile: GroupTile, operation: SoftmaxOperation, sample: Sample) -> Case:
        x = sample.inputs["x"]
        size = x.size + READ_MARGIN
        values, written = np.full(size, float(SENTINEL)), np.zeros(size, np.bool_)
        values[: x.size] = sample.answer.reshape(-1)
        written[: x.size] = True
        initial = np.full(size, SENTINEL, np.float32)
        expected = Expected(values=values, written=written, initial=initial, terms=self.error_terms(operation))
        return Case(arguments=self.arguments(tile, operation, x=x.reshape(-1), y=expected))

    def sample_operations(self) -> tuple[SoftmaxOperation, ...]:
        return (
            SoftmaxOperation(count=1, length=1),
            SoftmaxOperation(count=3, length=7),
            SoftmaxOperation(count=2, length=131, temperature=2.5),
            SoftmaxOperation(count=5, length=1000),
        )


SOFTMAX = SoftmaxKernel()
