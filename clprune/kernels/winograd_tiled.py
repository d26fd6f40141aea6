"""Winograd convolution for GPUs whose product's inputs and weights go through local memory
(`templates/winograd_tiled.cl.mako`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, ceil_div, round_up
from clprune.kernels.arguments import Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.demand import Demand
from clprune.kernels.register_tile import (
    MOST_EXTRA_COLUMNS,
    REGISTER_TILE_CONSTRAINTS,
    REGISTER_TILE_GENERATORS,
    RegisterTile,
    leaves_room,
    local_mem_bytes,
    register_tile_demand,
    register_tile_variables,
)
from clprune.kernels.storage import FLOAT32
from clprune.kernels.tile import Constraint, values
from clprune.kernels.winograd_operation import (
    GAP,
    POOLS_WHOLE_WINDOWS,
    WINOGRAD_GENERATORS,
    WinogradConvolutionKernel,
    WinogradOperation,
    shared_arguments,
    stage_scratch,
    template_variables,
    three_stages,
    transformed_weights,
    winograd_operation,
)
from clprune.kernels.workload import Workload
from clprune.packing.winograd import PackedWinograd, pack_winograd


@dataclass(frozen=True, kw_only=True)
class WinogradTiledTile(RegisterTile):
    """Parameters of the template, explained there: output channels are rows, tiles are positions."""

    group_n: int = field(metadata=values(1, 4, 8, 16, 32, cpu=(1,), gpu=(4, 8, 16, 32)))

    @property
    def is_narrowest(self) -> bool:
        """No tile has fewer tiles, of a work-item on its own or of a work-group."""
        return self.staged_positions == (4 if self.work_group_size == 1 else 16)

    def row_stride(self, operation: WinogradOperation) -> int:
        """Tiles in a row of V and M, filled up to whole work-groups."""
        return round_up(operation.segments(1), self.staged_positions)

    def row_groups(self, operation: WinogradOperation) -> int:
        """Work-groups along output channels."""
        return ceil_div(operation.problem.out_channels, self.rows)

    def groups(self, operation: WinogradOperation) -> int:
        """Work-groups of all matrices."""
        return operation.matrices * self.row_groups(operation) * self.row_stride(operation) // self.staged_positions


#: Fewest output channels for which it is offered: with less most of a work-group's rows are fill.
FEWEST_CHANNELS = 32

#: What a value costs in multiply-adds, about, that a work-item reads from local memory, and one that it brings there:
#: they keep small tiles, and small work-groups, for where they are needed.
READ_COST, STAGE_COST = 2, 8


def _busy_share(tile: WinogradTiledTile, operation: WinogradOperation, compute_units: int) -> float:
    """Of the time that `compute_units` take, which get equal work-groups one by one, what they multiply for results."""
    groups = tile.groups(operation)
    busy = groups / (ceil_div(groups, compute_units) * compute_units)
    useful = operation.matrices * operation.problem.out_channels * operation.segments(1)
    filled = groups * tile.rows * tile.staged_positions
    read = tile.tile_m + tile.results // tile.tile_m
    staged = (tile.rows + tile.staged_positions) / tile.work_group_size
    return busy * useful / filled * tile.results / (tile.results + READ_COST * read + STAGE_COST * staged)


class WinogradTiledKernel(WinogradConvolutionKernel[WinogradTiledTile]):
    """See `templates/winograd_tiled.cl.mako`."""

    name = "winograd_tiled"
    can_add = True
    template = "winograd_tiled"
    generators = (*WINOGRAD_GENERATORS, *REGISTER_TILE_GENERATORS)
    tile_type = WinogradTiledTile
    is_fused = False
    constraints = (
        *REGISTER_TILE_CONSTRAINTS,
        POOLS_WHOLE_WINDOWS,
        Constraint(
            reason="rows of tiles are filled up to more than twice their length",
            holds=lambda t, o: t.is_narrowest or t.row_stride(o) < 2 * o.segments(1),
        ),
        Constraint(
            reason="a transformed input or output exceeds what 32-bit offsets reach",
            holds=lambda t, o: (
                o.matrices * t.row_stride(o) * max(o.problem.in_channels, o.problem.out_channels + t.rows) < 2**30
            ),
        ),
    )
    cpu_tiles = (WinogradTiledTile(tile_m=8, vectors=2, group_m=1, group_n=1),)
    # By the hot loops of clprune.offline, as conv_tiled's; then those of fewer tiles, for cards that they do not fill,
    # and of fewer output channels. Chunks of four where LLVM 15 has no registers for eight, on gfx1100; 16x4 results
    # where ptxas has none for 8x8, on sm_90.
    gpu_tiles = (
        WinogradTiledTile(tile_m=8, vectors=2, group_m=8, group_n=32),
        WinogradTiledTile(tile_m=4, vectors=2, group_m=16, group_n=16),  # where registers are few
        WinogradTiledTile(tile_m=8, vectors=2, group_m=8, group_n=16, tile_k=4),
        WinogradTiledTile(tile_m=16, vectors=1, group_m=4, group_n=16, tile_k=4),
        WinogradTiledTile(tile_m=4, vectors=2, group_m=8, group_n=16),
        WinogradTiledTile(tile_m=4, vectors=2, group_m=8, group_n=8, tile_k=4),
        WinogradTiledTile(tile_m=4, vectors=1, group_m=16, group_n=4),
        WinogradTiledTile(tile_m=4, vectors=1, group_m=4, group_n=16),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """On GPUs with local memory; first of the Winograd kernels where its rows keep hardly more channels than those
        of others.
        """
        is_emulated = quirks.has(request.device, quirks.EMULATED_LOCAL_MEMORY)
        if request.has_vectors or is_emulated or request.operation.problem.out_channels < FEWEST_CHANNELS:
            return ()
        ranked = (self._ranked(offer, request.device) for offer in super().offers(request))
        return [offer for offer in ranked if offer.default_tile(request.device).work_group_size > 1]

    def _ranked(self, offer: Offer, device: DeviceInfo) -> Offer:
        channels = offer.operation.problem.in_channels
        sizes = (self.default_tile(offer.operation, device).rows, 8)
        kept, kept_alone = (offer.workload.kept_columns(channels, tile_m=rows) for rows in sizes)
        skips = kept <= MOST_EXTRA_COLUMNS * kept_alone
        return dataclasses.replace(
            offer,
            label=f"{offer.label} tiled",
            rank=offer.rank - 1 if skips else Rank.DOUBTFUL,
            is_likely=offer.is_likely and skips,
        )

    def own_tiles(self, device: DeviceInfo) -> Sequence[WinogradTiledTile]:
        """As everywhere, those that leave room for the device's warps."""
        return [tile for tile in super().own_tiles(device) if leaves_room(tile, device)]

    def default_tile(self, operation: WinogradOperation, device: DeviceInfo) -> WinogradTiledTile:
        """Of the device's tiles that fit, the one that keeps most of the device busy with results."""
        return max(
            self.ranked_tiles(operation, device),
            key=lambda tile: _busy_share(tile, operation, device.compute_units),
            default=self.safe_tile(operation),
        )

    def demand(
        self,
        tile: WinogradTiledTile,
        operation: WinogradOperation,
        workload: Workload,
        architecture: Architecture,
    ) -> Demand:
        """Of the product."""
        problem = operation.problem
        kept = workload.kept_columns(problem.in_channels, tile_m=tile.rows)
        weight_bytes = 4.0 * operation.matrices * kept * problem.out_channels
        v_bytes, m_bytes = (float(scratch.size_bytes) for scratch in self.scratch(tile, operation).values())
        passed_on = v_bytes + m_bytes  # from stage to stage, by the last cache if they fit there
        return register_tile_demand(
            tile,
            architecture,
            groups=tile.groups(operation),
            columns=kept,
            stride=1,
            memory_bytes=weight_bytes + (passed_on if passed_on > architecture.shared_cache_bytes else 0),
            result_bytes=m_bytes,
            is_aligned=True,
        )

    def local_mem_bytes(self, tile: WinogradTiledTile, operation: WinogradOperation) -> int:
        return local_mem_bytes(tile)

    def launch(self, tile: WinogradTiledTile, operation: WinogradOperation) -> Launch:
        across = tile.row_stride(operation) // tile.staged_positions * tile.group_n
        down = tile.row_groups(operation) * tile.group_m
        return Launch(global_size=(across, down, operation.matrices), local_size=(tile.group_n, tile.group_m, 1))

    def stages(self, tile: WinogradTiledTile, operation: WinogradOperation) -> tuple[Stage, ...]:
        return three_stages(operation, multiply=self.launch(tile, operation), strips=operation.segments(1))

    def scratch(self, tile: WinogradTiledTile, operation: WinogradOperation) -> dict[str, Scratch]:
        rows = tile.row_groups(operation) * tile.rows
        return stage_scratch(operation, row_stride=tile.row_stride(operation), rows=rows)

    def variables(self, tile: WinogradTiledTile, operation: WinogradOperation) -> dict[str, Any]:
        return {
            **template_variables(operation, vector_width=1, columns=1),
            **register_tile_variables(tile),
            "vector_width": 1,
            "channels_per_item": 1,
            "prefetch": 0,
            "storage": FLOAT32,
            "gap": GAP,
        }

    def safe_tile(self, operation: WinogradOperation) -> WinogradTiledTile:
        return WinogradTiledTile(tile_m=4, vectors=1, group_m=1, group_n=1, tile_k=4)

    def wavefront_rows(self, tile: WinogradTiledTile) -> int:
        """`tile_m * group_m`: the work-items of a group share inputs, and so the list of kept channels."""
        return tile.rows

    def pack(self, tile: WinogradTiledTile, operation: WinogradOperation, *, weights: LayerWeights) -> PackedWinograd:
        """Kept channels of U per work-group and matrix, in whole chunks; spatial weights are transformed exactly."""
        return pack_winograd(
            transformed_weights(weights, operation),
            bias=weights.biases,
            tile_m=tile.rows,
            channel_stride=tile.row_stride(operation),
            sweep=0,
            whole=tile.tile_k,
        )

    def arguments(self, tile: WinogradTiledTile, operation: WinogradOperation, packed: PackedWinograd) -> Arguments:
        """Arguments of all stages."""
        sizes = {
            "block_count": tile.row_groups(operation),
            "strip_count": operation.segments(1),
            "row_stride": tile.row_stride(operation),
        }
        return {**self.scratch(tile, operation), **sizes, **shared_arguments(operation, packed, columns=1)}

    def sample_operations(self) -> tuple[WinogradOperation, ...]:
        """Those of all, and one that large work-groups have enough to do with."""
        return (*super().sample_operations(), _many_tiles(33))

    def probes(self, tile: WinogradTiledTile) -> tuple[WinogradOperation, ...]:
        """The samples, and more output channels than a work-group has."""
        return (*self.sample_operations(), _many_tiles(tile.rows + 1))


def _many_tiles(filters: int) -> WinogradOperation:
    """Few channels, and more tiles than half of the widest work-group has."""
    problem = ConvProblem.square(
        batch=1, in_channels=3, in_height=33, in_width=65, out_channels=filters, size=3, padding=1
    )
    return winograd_operation(conv_operation(problem, activation="relu"), output_tile=4)


WINOGRAD_TILED = WinogradTiledKernel()
