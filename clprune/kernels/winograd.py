"""Winograd convolution in three stages, the middle one a batched matrix product (`templates/winograd.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ceil_div, round_up
from clprune.kernels.arguments import Arguments, Launch, Scratch, Stage
from clprune.kernels.conv_operation import MANY_ROWS
from clprune.kernels.tile import PREFETCHING, STAGING, WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.winograd_operation import (
    GAP,
    SEGMENT_CONSTRAINTS,
    WINOGRAD_GENERATORS,
    WinogradConvolutionKernel,
    WinogradOperation,
    shared_arguments,
    stage_scratch,
    template_variables,
    three_stages,
    transformed_weights,
)
from clprune.packing.winograd import PackedWinograd, pack_winograd


@dataclass(frozen=True, kw_only=True)
class WinogradTile:
    """Parameters of the template, explained there.

    A work-item multiplies `tile_m` output channels x `vectors * vector_width` tiles of one matrix.
    """

    tile_m: int = field(metadata=values(1, 4, 6, 8, 16))
    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1,)))
    vectors: int = field(metadata=values(1, 2, 4))
    columns: int = field(default=1, metadata=values(1, 2, 4, 8, gpu=(1,)))
    group_m: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 16, 32, 64, cpu=(1,), gpu=(16, 32, 64)))
    tile_k: int = field(default=0, metadata=values(0, 16, cpu=(0,)))
    sweep: int = field(default=1, metadata=values(1, 4, 16, gpu=(1,)))
    channels_per_item: int = field(default=1, metadata=values(1, 8, gpu=(1,)))
    prefetch: int = field(default=0, metadata=values(0, 1, gpu=(0,)))
    prefetch_values: int = field(default=0, metadata=values(0, 2048, gpu=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n

    def strips(self, operation: WinogradOperation) -> int:
        """Vectors of tiles."""
        return ceil_div(operation.segments(self.columns) * self.columns, self.vector_width)

    def row_stride(self, operation: WinogradOperation) -> int:
        """Tiles in a row of V and M, filled up to whole register tiles of whole work-groups."""
        return round_up(self.strips(operation), self.vectors * self.group_n) * self.vector_width

    def row_blocks(self, operation: WinogradOperation) -> int:
        """Blocks of `tile_m` output channels."""
        return ceil_div(operation.problem.out_channels, self.tile_m)


class WinogradKernel(WinogradConvolutionKernel[WinogradTile]):
    """See `templates/winograd.cl.mako`."""

    name = "winograd"
    can_add = True
    template = "winograd"
    generators = WINOGRAD_GENERATORS
    tile_type = WinogradTile
    is_fused = False
    constraints = (
        *WORK_GROUP_CONSTRAINTS,
        *SEGMENT_CONSTRAINTS,
        fits_registers(lambda t, o: t.tile_m * t.vectors * t.vector_width, alone=448, shared=64),
        STAGING,
        MANY_ROWS,
        Constraint(
            reason="a sweep is longer than the layer has row blocks",
            holds=lambda t, o: t.sweep == 1 or t.sweep * t.group_m * t.tile_m < 2 * o.problem.out_channels,
        ),
        Constraint(
            reason="rows of tiles are filled up to more than twice their length",
            holds=lambda t, o: t.vectors == 1 or t.row_stride(o) < 2 * t.strips(o) * t.vector_width,
        ),
        Constraint(
            reason="a work-item has more channels to transform than the layer has",
            holds=lambda t, o: (
                t.channels_per_item == 1 or t.channels_per_item <= max(o.problem.in_channels, o.problem.out_channels)
            ),
        ),
        PREFETCHING,
        Constraint(
            reason="prefetching channels is for work-items that transform several",
            holds=lambda t, o: t.prefetch == 0 or t.channels_per_item > 1,
        ),
        Constraint(
            reason="a transformed input or output exceeds what 32-bit offsets reach",
            holds=lambda t, o: (
                o.matrices * t.row_stride(o) * max(o.problem.in_channels, o.problem.out_channels + t.tile_m) < 2**30
            ),
        ),
    )
    cpu_tiles = (
        WinogradTile(
            tile_m=8,
            vector_width=16,
            vectors=2,
            columns=4,
            sweep=4,
            channels_per_item=8,
            prefetch=1,
            prefetch_values=2048,
        ),
        WinogradTile(
            tile_m=8, vector_width=16, vectors=2, columns=1, sweep=4, channels_per_item=8, prefetch_values=2048
        ),
        WinogradTile(
            tile_m=8, vector_width=16, vectors=1, columns=4, sweep=16, channels_per_item=8, prefetch_values=2048
        ),
        WinogradTile(
            tile_m=16,
            vector_width=16,
            vectors=1,
            columns=4,
            sweep=4,
            channels_per_item=8,
            prefetch=1,
            prefetch_values=2048,
        ),
        WinogradTile(
            tile_m=6,
            vector_width=8,
            vectors=2,
            columns=4,
            sweep=4,
            channels_per_item=8,
            prefetch=1,
            prefetch_values=2048,
        ),
        WinogradTile(
            tile_m=8,
            vector_width=8,
            vectors=1,
            columns=4,
            sweep=4,
            channels_per_item=8,
            prefetch=1,
            prefetch_values=2048,
        ),
        WinogradTile(tile_m=8, vector_width=8, vectors=1, columns=1, sweep=4, channels_per_item=8, prefetch=1),
        WinogradTile(tile_m=8, vector_width=16, vectors=1, columns=1),
        WinogradTile(tile_m=1, vector_width=4, vectors=1),
    )
    gpu_tiles = (
        WinogradTile(tile_m=8, vector_width=1, vectors=4, group_m=2, group_n=32, tile_k=16),
        WinogradTile(tile_m=8, vector_width=1, vectors=4, group_m=2, group_n=32),
        WinogradTile(tile_m=8, vector_width=1, vectors=1, group_m=4, group_n=16, tile_k=16),
        WinogradTile(tile_m=8, vector_width=1, vectors=1, group_m=4, group_n=16),
        WinogradTile(tile_m=1, vector_width=1, vectors=1, group_n=64),
    )

    def local_mem_bytes(self, tile: WinogradTile, operation: WinogradOperation) -> int:
        return 4 * tile.group_m * tile.tile_k * (tile.tile_m + 1)

    def launch(self, tile: WinogradTile, operation: WinogradOperation) -> Launch:
        chunks = tile.row_stride(operation) // (tile.vectors * tile.group_n * tile.vector_width)
        block_groups = ceil_div(tile.row_blocks(operation), tile.group_m * tile.sweep)
        groups = operation.matrices * block_groups * chunks
        # Tiles lie along dimension 0 of a work-group: they are the lanes of a warp.
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=(tile.group_n, tile.group_m))

    def stages(self, tile: WinogradTile, operation: WinogradOperation) -> tuple[Stage, ...]:
        multiply, strips = self.launch(tile, operation), tile.strips(operation)
        return three_stages(operation, multiply=multiply, strips=strips, channels_per_item=tile.channels_per_item)

    def scratch(self, tile: WinogradTile, operation: WinogradOperation) -> dict[str, Scratch]:
        rows = tile.row_blocks(operation) * tile.tile_m
        return stage_scratch(operation, row_stride=tile.row_stride(operation), rows=rows)

    def variables(self, tile: WinogradTile, operation: WinogradOperation) -> dict[str, Any]:
        shared = template_variables(operation, vector_width=tile.vector_width, columns=tile.columns)
        return {**shared, "gap": GAP}

    def safe_tile(self, operation: WinogradOperation) -> WinogradTile:
        rows = 4 if operation.problem.out_channels >= 4 else 1
        return WinogradTile(tile_m=rows, vector_width=4, vectors=1)

    def is_worth_trying(self, tile: WinogradTile, operation: WinogradOperation, device: DeviceInfo) -> bool:
        """As everywhere; on CPUs vectors also fill a register."""
        if not super().is_worth_trying(tile, operation, device):
            return False
        return tile.vector_width >= min(quirks.vector_width(device), 16)

    def workgroup_rows(self, tile: WinogradTile) -> int:
        """`tile_m * group_m`: row blocks that a work-group multiplies side by side."""
        return tile.tile_m * tile.group_m

    def pack(self, tile: WinogradTile, operation: WinogradOperation, *, weights: LayerWeights) -> PackedWinograd:
        """Kept channels of U per row block and matrix; spatial weights are transformed exactly."""
        return pack_winograd(
            transformed_weights(weights, operation),
            bias=weights.biases,
            tile_m=tile.tile_m,
            channel_stride=tile.row_stride(operation),
            sweep=0,
        )

    def arguments(self, tile: WinogradTile, operation: WinogradOperation, packed: PackedWinograd) -> Arguments:
        """Arguments of all stages."""
        sizes = {
            "block_count": tile.row_blocks(operation),
            "strip_count": tile.strips(operation),
            "row_stride": tile.row_stride(operation),
        }
        return {**self.scratch(tile, operation), **sizes, **shared_arguments(operation, packed, columns=tile.columns)}


WINOGRAD = WinogradKernel()
