"""Normalization of groups of channels by each image's own statistics (`templates/group_norm.cl.mako`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clprune.darknet.kinds.normalization import GroupNorm
from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, FloatArray, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import WIDE_VECTORS, Constraint, values
from clprune.kernels.workload import Workload
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class GroupNormTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 64, 128, 256, cpu=(1,), gpu=(64, 128, 256)))

    @property
    def work_group_size(self) -> int:
        return self.group_n


@dataclass(frozen=True, kw_only=True)
class GroupNormOperation:
    """`groups` of as many channels each."""

    input: Layout
    output: Layout
    groups: int
    epsilon: float

    @property
    def channels(self) -> int:
        """Channels of a group."""
        return self.output.shape.channels // self.groups

    @property
    def key(self) -> str:
        return f"n{self.output.batch} {self.output.shape} groups{self.groups}"

    @property
    def flops(self) -> int:
        """A sum, a square of a difference, a product and a sum per value."""
        return 6 * self.output.batch * self.output.shape.elements


class GroupNormKernel(Kernel[GroupNormTile, GroupNormOperation]):
    """See `templates/group_norm.cl.mako`."""

    name = "group_norm"
    template = "group_norm"
    layer_kind = GroupNorm
    computes = GroupNormOperation
    tile_type = GroupNormTile
    constraints = (
        WIDE_VECTORS,
        Constraint(
            reason="vectors are for work-groups of one: of others, work-items take places side by side",
            holds=lambda t, o: t.vector_width == 1 or t.group_n == 1,
        ),
        Constraint(
            reason="the work-group has more than twice as many items as the group has places",
            holds=lambda t, o: (
                t.group_n <= 64 or t.group_n < 2 * o.channels * o.output.shape.height * o.output.shape.width
            ),
        ),
    )
    cpu_tiles = (GroupNormTile(vector_width=16), GroupNormTile(vector_width=8), GroupNormTile(vector_width=1))
    gpu_tiles = (GroupNormTile(vector_width=1, group_n=256), GroupNormTile(vector_width=1, group_n=64))

    def operation_of(self, layer: GroupNorm, *, batch: int, input: Layout, output: Layout) -> GroupNormOperation:
        return GroupNormOperation(input=input, output=output, groups=layer.groups, epsilon=layer.epsilon)

    def local_mem_bytes(self, tile: GroupNormTile, operation: GroupNormOperation) -> int:
        return 4 * tile.group_n if tile.group_n > 1 else 0

    def launch(self, tile: GroupNormTile, operation: GroupNormOperation) -> Launch:
        groups = operation.output.batch * operation.groups
        return Launch(global_size=(groups * tile.group_n,), local_size=(tile.group_n,))

    def safe_tile(self, operation: GroupNormOperation) -> GroupNormTile:
        return GroupNormTile(vector_width=1)

    def takes_weights(self, operation: GroupNormOperation) -> bool:
        return True

    def arguments(self, tile: GroupNormTile, operation: GroupNormOperation, packed: PackedArrays) -> Arguments:
        shape = operation.output.shape
        return {
            "values": packed.values,
            "bias": packed.bias,
            "groups": operation.groups,
            "channels": operation.channels,
            "height": shape.height,
            "width": shape.width,
            "share": 1 / (operation.channels * shape.height * shape.width),
            "epsilon": operation.epsilon,
            **places(x=operation.input, y=operation.output),
        }

    def reference(self, operation: GroupNormOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 `[N, C, H, W]`."""
        x = inputs[0].astype(np.float64)
        parts = x.reshape(len(x), operation.groups, -1)
        centred = parts - parts.mean(axis=2, keepdims=True)
        variance = np.mean(centred * centred, axis=2, keepdims=True)
        normalized = (centred / np.sqrt(variance + operation.epsilon)).reshape(x.shape)
        factors, offsets = (array.astype(np.float64)[:, None, None] for array in (weights.weights, weights.biases))
        answer: Answer = normalized * factors + offsets
        return answer

    def error_terms(self, operation: GroupNormOperation) -> int:
        return operation.channels * operation.output.shape.height * operation.output.shape.width

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """x, factors and offsets `[channels]`; x is about as far from zero as it varies."""
        inputs = super().sample_inputs(operation, workload, rng)
        arrays = {name: rng.standard_normal(operation.output.shape.channels, np.float32) for name in ("scale", "shift")}
        return {"x": inputs["x"] + np.float32(1), **arrays}

    def sample_weights(self, operation: GroupNormOperation, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        return LayerWeights(weights=inputs["scale"], biases=inputs["shift"])

    def sample_operations(self) -> tuple[GroupNormOperation, ...]:
        wide, small = Shape(channels=12, height=5, width=37), Shape(channels=3, height=1, width=3)
        padded, plain = padded_layout(batch=2, shape=wide, pitch=39, padding=2), contiguous_layout(batch=2, shape=wide)
        few = contiguous_layout(batch=1, shape=small)
        return (
            GroupNormOperation(input=padded, output=plain, groups=4, epsilon=1e-5),
            GroupNormOperation(input=plain, output=padded, groups=12, epsilon=0.5),
            GroupNormOperation(input=few, output=few, groups=1, epsilon=1e-3),
        )


GROUP_NORM = GroupNormKernel()
