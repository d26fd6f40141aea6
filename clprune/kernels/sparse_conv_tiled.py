"""Direct sparse convolution for GPUs out of shared local memory (`templates/sparse_conv_tiled.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.architecture import Architecture
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.arguments import Launch
from clprune.kernels.base import Offer, Request
from clprune.kernels.conv_operation import AREA_CONSTRAINTS, ConvOperation, conv_operation
from clprune.kernels.demand import Demand
from clprune.kernels.entry_chunks import EntryChunksKernel, Integers, piece_count
from clprune.kernels.sparse_conv import sparse_offers
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL, has_local_form
from clprune.kernels.storage import STORAGE_BITS, table_bytes
from clprune.kernels.tile import WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.workload import Workload

#: Places of a piece of the local input that 16 bits can number.
MOST_PLACES = 65536

#: Work-groups for each compute unit that an untuned tile should have: while some stage, others multiply.
WANTED_GROUPS = 2

#: Share of the weights that untuned tiles are chosen for.
USUAL_SHARE = 0.1

#: Instructions that a staged value takes; a product; an entry beside its products; a list of entries.
STAGING_COST, PRODUCT_COST, ENTRY_COST, LIST_COST = 4, 2, 4, 12


@dataclass(frozen=True, kw_only=True)
class SparseConvTiledTile:
    """Parameters of the template, explained there.

    A work-item computes `block_rows` output channels for `tile_rows * columns` positions.
    """

    block_rows: int = field(metadata=values(1, 2, 4, 8))
    tile_columns: int = field(metadata=values(1, 2, 4, 8, 16, 32))
    tile_rows: int = field(metadata=values(1, 2, 4, 7, 8))
    columns: int = field(default=1, metadata=values(1, 2))
    group_m: int = field(default=1, metadata=values(1, 2, 4, 8, cpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 32, 64, cpu=(1,), gpu=(32, 64)))
    tile_k: int = field(default=1, metadata=values(1, 4, 8, 16, 32))
    k_unroll: int = field(default=1, metadata=values(1, 4))

    @property
    def vector_width(self) -> int:
        """Positions are counted one by one."""
        return 1

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n

    @property
    def abreast(self) -> int:
        """Work-items of a piece, whose columns are neighbours."""
        return self.tile_columns // self.columns

    @property
    def pieces(self) -> int:
        """Runs of `tile_rows` rows, of the same image or of several, of a work-group; at least one."""
        return max(1, self.group_n // max(1, self.abreast))

    @property
    def results(self) -> int:
        """float32 results that a work-item holds in registers."""
        return self.block_rows * self.tile_rows * self.columns


def _plane(tile: SparseConvTiledTile, operation: ConvOperation) -> int:
    """Inputs of one channel that a piece needs."""
    border = operation.problem.window.size_y - 1
    return (tile.tile_rows + border) * (tile.tile_columns + border)


class SparseConvTiledKernel(EntryChunksKernel[SparseConvTiledTile]):
    """See `templates/sparse_conv_tiled.cl.mako`."""

    name = "sparse_conv_tiled"
    template = "sparse_conv_tiled"
    most_registers = 128  # 32 sums, what is read for them, and where inputs are staged
    tile_type = SparseConvTiledTile
    constraints = (
        Constraint(
            reason="the layer has a stride, groups or uneven windows", holds=lambda t, o: has_local_form(o.problem)
        ),
        Constraint(
            reason="the columns of a piece are not shared evenly by work-items of the group",
            holds=lambda t, o: t.tile_columns % t.columns == 0 and t.abreast <= t.group_n,
        ),
        *AREA_CONSTRAINTS,
        Constraint(
            reason="fused pooling needs neighbouring columns in a work-item or in two",
            holds=lambda t, o: not o.pooled or t.abreast % 2 == 0 or t.columns == 2,
        ),
        fits_registers(lambda t, o: t.results, alone=64, shared=32),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="the tile has more than twice the layer's channels",
            holds=lambda t, o: (
                (t.tile_k == 1 or t.tile_k < 2 * o.problem.in_channels)
                and (t.block_rows * t.group_m < 2 * o.problem.out_channels or t.block_rows * t.group_m == 1)
            ),
        ),
        Constraint(
            reason="the local input has more places than 16 bits can number",
            holds=lambda t, o: t.tile_k * _plane(t, o) <= MOST_PLACES,
        ),
    )
    cpu_tiles = (SparseConvTiledTile(block_rows=1, tile_columns=1, tile_rows=1),)
    # 32 sums of a work-item hide what entries and chunks cost beside products. Small layers have smaller tiles.
    gpu_tiles = tuple(
        SparseConvTiledTile(
            block_rows=rows,
            tile_columns=columns,
            tile_rows=height,
            group_m=group_m,
            group_n=64,
            tile_k=tile_k,
            k_unroll=4,
        )
        for rows, height, group_m, tile_k, widths in (
            (4, 8, 4, 8, (32, 16, 8)),
            (4, 7, 4, 8, (32, 16, 8, 4)),
            (8, 4, 4, 8, (32, 16, 8, 4)),
            (4, 4, 2, 4, (8, 4, 2)),
            (2, 4, 2, 4, (8, 4, 2)),
            (4, 2, 2, 4, (4, 2)),
        )
        for columns in widths
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """On GPUs with local memory."""
        device, operation = request.device, request.operation
        if request.has_vectors or quirks.has(device, quirks.EMULATED_LOCAL_MEMORY):
            return ()
        if not has_local_form(operation.problem) or self.default_tile(operation, device).work_group_size == 1:
            return ()
        return sparse_offers(self, request, label="sparse tiled", place=0)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> SparseConvTiledTile:
        """Of the device's own tiles the one that needs the fewest instructions for products and for staging, where a
        tenth of the weights is left; more count where it has work-groups for a part of the device only.
        """

        def cost(tile: SparseConvTiledTile) -> float:
            groups = self._groups(tile, operation)
            kept = USUAL_SHARE * operation.problem.window.places
            entry = PRODUCT_COST * tile.results / tile.block_rows + ENTRY_COST
            row = kept * entry + LIST_COST / tile.tile_k
            staging = STAGING_COST * tile.pieces * _plane(tile, operation)
            idle = max(1.0, WANTED_GROUPS * device.compute_units / groups)
            return groups * (tile.work_group_size * tile.block_rows * row + staging) * idle

        return min(self.ranked_tiles(operation, device), key=cost, default=self.safe_tile(operation))

    def demand(
        self, tile: SparseConvTiledTile, operation: ConvOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        """A column is an entry of a row of a work-item, whose rows follow each other."""
        problem, items = operation.problem, tile.work_group_size
        groups, lanes = self._groups(tile, operation), architecture.warp_size
        kept = workload.kept_columns(problem.columns, tile_m=1)
        entries = tile.block_rows * kept
        values_of_item = tile.pieces * _plane(tile, operation) * problem.in_channels / items
        staged = values_of_item / entries
        results = tile.tile_rows * tile.columns
        vectors = 2 / tile.k_unroll
        entry_bytes = 2 + STORAGE_BITS[operation.storage] / 8
        x_bytes, y_bytes = 4.0 * operation.input.elements, 4.0 * operation.output.elements
        weight_bytes = entry_bytes * kept * problem.out_channels
        staged_bytes = 4.0 * groups * values_of_item * items
        chunks = ceil_div(problem.in_channels, tile.tile_k)
        return Demand(
            groups=groups,
            work_group_size=items,
            columns=entries,
            columns_per_turn=tile.k_unroll,
            fmas=results,
            load_instructions=results + vectors + 2 * staged,
            cache_clocks=staged * architecture.load_clocks(lanes=lanes, width=1)
            + vectors * architecture.load_clocks(lanes=1, width=1),
            local_bytes=4 * results,
            local_clocks=(results + staged) * architecture.local_clocks(range(lanes), width=1),
            local_mem_bytes=self.local_mem_bytes(tile, operation),
            staged_columns=max(1, entries // chunks),
            memory_bytes=x_bytes + y_bytes + weight_bytes,
            shared_cache_bytes=staged_bytes + y_bytes + groups * tile.group_m * entries * entry_bytes,
            streams=False,
            registers=tile.results + 2 * results + 32,
        )

    def local_mem_bytes(self, tile: SparseConvTiledTile, operation: ConvOperation) -> int:
        distance = tile.tile_k * _plane(tile, operation)
        if tile.pieces > 1:
            distance += (tile.abreast - distance) % 32
        exchanged = tile.work_group_size * tile.tile_rows * tile.columns // 2
        words = max(tile.pieces * distance, exchanged if operation.pooled and tile.abreast > 1 else 0)
        table = table_bytes(operation.storage) if tile.work_group_size > 1 and tile.k_unroll > 1 else 0
        return 4 * words + table

    def launch(self, tile: SparseConvTiledTile, operation: ConvOperation) -> Launch:
        groups = self._groups(tile, operation)
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=(tile.group_n, tile.group_m))

    def _groups(self, tile: SparseConvTiledTile, operation: ConvOperation) -> int:
        problem = operation.problem
        row_groups = ceil_div(ceil_div(problem.out_channels, tile.block_rows), tile.group_m)
        tiles = ceil_div(piece_count(tile, problem), tile.pieces) * ceil_div(problem.out_width, tile.tile_columns)
        return row_groups * tiles

    def variables(self, tile: SparseConvTiledTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            "size": operation.problem.window.size_y,
            "padding": operation.problem.window.top,
            "activation": operation.activation,
            "pooled": operation.pooled,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConvOperation) -> SparseConvTiledTile:
        side = 2 if operation.pooled else 1
        return SparseConvTiledTile(block_rows=1, tile_columns=side, tile_rows=side, columns=side)

    def local_places(
        self, tile: SparseConvTiledTile, operation: ConvOperation, *, channel: Integers, row: Integers, column: Integers
    ) -> Integers:
        piece_width = tile.tile_columns + operation.problem.window.size_y - 1
        return channel * _plane(tile, operation) + row * piece_width + column

    def whole_entries(self, tile: SparseConvTiledTile) -> int:
        return tile.k_unroll

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        """Those of the form for CPUs, and rows and channels for the tiles of GPUs."""
        wide = ConvProblem.square(batch=1, in_channels=9, in_height=7, in_width=33, out_channels=17, size=3, padding=1)
        pooled = ConvProblem.square(batch=2, in_channels=9, in_height=8, in_width=34, out_channels=17, size=1)
        return (
            *SPARSE_CONV_LOCAL.sample_operations(),
            conv_operation(wide, activation="leaky"),
            conv_operation(pooled, activation="relu", pooled=True),
        )


SPARSE_CONV_TILED = SparseConvTiledKernel()
