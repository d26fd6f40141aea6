"""Winograd convolution in one kernel whose transformed data stays in cache (`templates/winograd_fused.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ceil_div
from clprune.kernels.arguments import Launch, Scratch
from clprune.kernels.tile import PREFETCHING, WIDE_VECTORS, Constraint, fits_registers, values
from clprune.kernels.winograd_operation import (
    SEGMENT_CONSTRAINTS,
    WINOGRAD_GENERATORS,
    WinogradConvolutionKernel,
    WinogradOperation,
    shared_arguments,
    template_variables,
    transformed_weights,
)
from clprune.packing.winograd import PackedWinograd, pack_winograd

#: Numbers of work-groups that a tile may ask for.
GROUPS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class WinogradFusedTile:
    """Parameters of the template, explained there.

    A work-item carries `vectors * vector_width` tiles at once and multiplies `tile_m` output channels of them.
    """

    tile_m: int = field(metadata=values(1, 4, 6, 8, 16))
    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1,)))
    vectors: int = field(metadata=values(1, 2))
    columns: int = field(default=1, metadata=values(1, 2, 4, 8, gpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 32, 64, cpu=(1,), gpu=(32, 64)))
    groups: int = field(default=1, metadata=values(*GROUPS))
    sweep: int = field(default=1, metadata=values(1, 2, 4))
    prefetch: int = field(default=0, metadata=values(0, 1, 2, gpu=(0,)))
    prefetch_values: int = field(default=0, metadata=values(0, 2048, gpu=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_n

    @property
    def lanes(self) -> int:
        """Tiles side by side in the scratch."""
        return self.group_n * self.vector_width

    @property
    def m_stride(self) -> int:
        """Elements of the scratch between the products of one U_xi and the next."""
        return (self.sweep * self.tile_m * self.vectors + 1) * self.lanes

    def v_stride(self, channels: int) -> int:
        """Elements of the scratch between the transformed inputs of one U_xi and the next."""
        return (channels * self.vectors + 1) * self.lanes

    def passes(self, operation: WinogradOperation) -> int:
        """Turns of all work-groups together."""
        return ceil_div(operation.segments(self.columns) * self.columns, self.vectors * self.lanes)


class WinogradFusedKernel(WinogradConvolutionKernel[WinogradFusedTile]):
    """See `templates/winograd_fused.cl.mako`."""

    name = "winograd_fused"
    can_add = True
    template = "winograd_fused"
    generators = (*WINOGRAD_GENERATORS, WinogradFusedTile.m_stride, WinogradFusedTile.lanes)
    tile_type = WinogradFusedTile
    is_fused = True
    constraints = (
        WIDE_VECTORS,
        *SEGMENT_CONSTRAINTS,
        fits_registers(lambda t, o: t.tile_m * t.vectors * t.vector_width, alone=448, shared=48),
        Constraint(
            reason="the tile has more rows than the layer has output channels",
            holds=lambda t, o: t.tile_m < 2 * o.problem.out_channels or t.tile_m == 1,
        ),
        Constraint(
            reason="a sweep is longer than the layer has row blocks",
            holds=lambda t, o: t.sweep == 1 or t.sweep * t.tile_m < 2 * o.problem.out_channels,
        ),
        Constraint(
            reason="there are more work-groups than passes",
            holds=lambda t, o: t.groups == 1 or t.groups <= t.passes(o),
        ),
        PREFETCHING,
        Constraint(
            reason="the scratch of all work-groups exceeds 1 GiB",
            holds=lambda t, o: t.groups * t.lanes * o.matrices * (o.problem.in_channels + t.m_stride) < 2**28,
        ),
    )
    cpu_tiles = (
        WinogradFusedTile(tile_m=8, vector_width=16, vectors=2, columns=4, sweep=2, prefetch=1, prefetch_values=2048),
        WinogradFusedTile(tile_m=8, vector_width=16, vectors=2, columns=2, sweep=2, prefetch=1, prefetch_values=2048),
        WinogradFusedTile(tile_m=16, vector_width=16, vectors=1, columns=4, prefetch=1, prefetch_values=2048),
        WinogradFusedTile(tile_m=8, vector_width=16, vectors=1, columns=1),
        # A longer sweep: 256x56x56 with a quarter kept takes 0.88 of the next one's time, dense as much.
        WinogradFusedTile(tile_m=6, vector_width=8, vectors=2, columns=4, sweep=4, prefetch=2, prefetch_values=2048),
        WinogradFusedTile(tile_m=6, vector_width=8, vectors=2, columns=4, sweep=2, prefetch=1, prefetch_values=2048),
        WinogradFusedTile(tile_m=6, vector_width=8, vectors=1, columns=4, sweep=4),
        WinogradFusedTile(tile_m=8, vector_width=8, vectors=1, columns=4, sweep=2, prefetch=1, prefetch_values=2048),
        WinogradFusedTile(tile_m=8, vector_width=8, vectors=1, columns=1, prefetch=1),
        WinogradFusedTile(tile_m=1, vector_width=4, vectors=1, columns=1),
    )
    # Wavefronts of 64, and warps of 32 for devices that spill (see `own_tiles`).
    gpu_tiles = (
        WinogradFusedTile(tile_m=8, vector_width=1, vectors=2, group_n=64),
        WinogradFusedTile(tile_m=4, vector_width=1, vectors=1, group_n=64),
        WinogradFusedTile(tile_m=1, vector_width=1, vectors=1, group_n=64),
        WinogradFusedTile(tile_m=8, vector_width=1, vectors=1, group_n=32, sweep=2),
        WinogradFusedTile(tile_m=8, vector_width=1, vectors=1, group_n=32),
        WinogradFusedTile(tile_m=1, vector_width=1, vectors=1, group_n=32),
    )

    def launch(self, tile: WinogradFusedTile, operation: WinogradOperation) -> Launch:
        return Launch(global_size=(tile.groups * tile.group_n,), local_size=(tile.group_n,))

    def scratch(self, tile: WinogradFusedTile, operation: WinogradOperation) -> dict[str, Scratch]:
        """Transformed inputs and products of every work-group."""
        stride = tile.v_stride(operation.problem.in_channels) + tile.m_stride
        return {"scratch": Scratch(elements=tile.groups * operation.matrices * stride)}

    def variables(self, tile: WinogradFusedTile, operation: WinogradOperation) -> dict[str, Any]:
        shared = template_variables(operation, vector_width=tile.vector_width, columns=tile.columns)
        return {**shared, "m_stride": tile.m_stride}

    def safe_tile(self, operation: WinogradOperation) -> WinogradFusedTile:
        rows = 4 if operation.problem.out_channels >= 4 else 1
        return WinogradFusedTile(tile_m=rows, vector_width=4, vectors=1)

    def is_worth_trying(self, tile: WinogradFusedTile, operation: WinogradOperation, device: DeviceInfo) -> bool:
        """As everywhere; on CPUs vectors also fill a register, and there is a work-group per core."""
        if not super().is_worth_trying(tile, operation, device):
            return False
        if not quirks.wants_explicit_vectors(device):
            return True
        is_narrow = tile.vector_width < min(quirks.vector_width(device), 16)
        return not is_narrow and tile.groups == self._groups(tile, operation, device)

    def own_tiles(self, device: DeviceInfo) -> Sequence[WinogradFusedTile]:
        """On GPUs wavefronts of 64, or warps of 32 where the compiler spills registers of larger work-groups."""
        if quirks.wants_explicit_vectors(device):
            return self.cpu_tiles
        group_n = 32 if quirks.has(device, quirks.SPILLS_BEYOND_ONE_WARP) else 64
        return [tile for tile in self.gpu_tiles if tile.group_n == group_n]

    def ranked_tiles(self, operation: WinogradOperation, device: DeviceInfo) -> list[WinogradFusedTile]:
        """As everywhere; those come last that spend half of their work on tiles that are not there, or carry several
        vectors while a CPU's core has none: of 14x14 positions one pass takes all 16 tiles in two vectors of 8.
        """
        tiles = operation.segments(1)
        units = device.compute_units if quirks.wants_explicit_vectors(device) else 1

        def wastes(tile: WinogradFusedTile) -> bool:
            passes = tile.passes(operation)
            return passes * tile.vectors * tile.lanes >= 2 * tiles or (tile.vectors > 1 and passes < units)

        return sorted(super().ranked_tiles(operation, device), key=wastes)

    def default_tile(self, operation: WinogradOperation, device: DeviceInfo) -> WinogradFusedTile:
        """As everywhere, with a work-group per compute unit where there are passes for them."""
        return self.spread(super().default_tile(operation, device), operation, device)

    def spread(self, tile: WinogradFusedTile, operation: WinogradOperation, device: DeviceInfo) -> WinogradFusedTile:
        return dataclasses.replace(tile, groups=self._groups(tile, operation, device))

    def _groups(self, tile: WinogradFusedTile, operation: WinogradOperation, device: DeviceInfo) -> int:
        """The smallest value that occupies all compute units, or else as many work-groups as there are passes for."""
        values = [value for value in GROUPS if value == 1 or value <= tile.passes(operation)]
        return min((value for value in values if value >= device.compute_units), default=values[-1])

    def pack(self, tile: WinogradFusedTile, operation: WinogradOperation, *, weights: LayerWeights) -> PackedWinograd:
        """Kept channels of U per row block and matrix; spatial weights are transformed exactly."""
        return pack_winograd(
            transformed_weights(weights, operation),
            bias=weights.biases,
            tile_m=tile.tile_m,
            channel_stride=tile.vectors * tile.lanes,
            sweep=tile.sweep,
        )

    def arguments(
        self, tile: WinogradFusedTile, operation: WinogradOperation, packed: PackedWinograd
    ) -> dict[str, Any]:
        own = {"pass_count": tile.passes(operation)}
        return {**self.scratch(tile, operation), **own, **shared_arguments(operation, packed, columns=tile.columns)}


WINOGRAD_FUSED = WinogradFusedKernel()
