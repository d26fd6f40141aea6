"""Direct sparse convolution out of local memory (`templates/sparse_conv_local.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.arguments import Launch
from clprune.kernels.base import Offer, Request
from clprune.kernels.conv_operation import AREA_CONSTRAINTS, ConvOperation, conv_operation
from clprune.kernels.entry_chunks import EntryChunksKernel, Integers, piece_count
from clprune.kernels.sparse_conv import SPARSE_CONV, sparse_offers
from clprune.kernels.storage import CODEBOOK4, INT8
from clprune.kernels.tile import Constraint, values
from clprune.quirks import vector_width

#: Values of the two parameters that count channels.
TILE_K = (1, 8, 12, 16, 20, 24, 32)
BLOCK_ROWS = (1, 64, 128, 256, 512)

#: Rows of a block that layers of fewer output channels may have as well: with one, each channel would copy the input.
FEW_BLOCK_ROWS = 64

#: Vectors of results that fit in the 32 registers of the widest CPUs beside a weight and an input.
MOST_ROWS = 28

#: Vectors that 16 bits can number.
MOST_VECTORS = 65536


@dataclass(frozen=True, kw_only=True)
class SparseConvLocalTile:
    """Parameters of the template, explained there.

    A work-group of one computes the rows of a block for `tile_rows * vector_width` positions.
    """

    vector_width: int = field(metadata=values(4, 8, 16))
    tile_columns: int = field(metadata=values(1, 2, 4, 8, 16))
    tile_rows: int = field(metadata=values(1, 2, 4, 6, 7, 8, 14))
    tile_k: int = field(metadata=values(*TILE_K))
    block_rows: int = field(metadata=values(*BLOCK_ROWS))
    k_unroll: int = field(default=1, metadata=values(1, 2))
    prefetch: int = field(default=0, metadata=values(0, 1))

    @property
    def pieces(self) -> int:
        """Runs of `tile_rows` rows, of the same image or of several, side by side in a vector; at least one."""
        return max(self.vector_width // self.tile_columns, 1)


def has_local_form(problem: ConvProblem) -> bool:
    """Whether the kernel can compute the layer: plain windows of stride 1, all channels in one group."""
    return problem.window.is_plain and problem.window.is_dense and problem.groups == 1


class SparseConvLocalKernel(EntryChunksKernel[SparseConvLocalTile]):
    """See `templates/sparse_conv_local.cl.mako`."""

    name = "sparse_conv_local"
    template = "sparse_conv_local"
    tile_type = SparseConvLocalTile
    constraints = (
        Constraint(
            reason="the layer has a stride, groups or uneven windows", holds=lambda t, o: has_local_form(o.problem)
        ),
        Constraint(
            reason="a piece has more columns than a vector",
            holds=lambda t, o: t.tile_columns <= t.vector_width,
        ),
        *AREA_CONSTRAINTS,
        Constraint(
            reason="the results of a row of weights exceed the registers of any device",
            holds=lambda t, o: t.tile_rows <= MOST_ROWS,
        ),
        Constraint(
            reason="the tile has more than twice the layer's channels",
            holds=lambda t, o: (
                (t.tile_k == 1 or t.tile_k < 2 * o.problem.in_channels)
                and (t.block_rows <= FEW_BLOCK_ROWS or t.block_rows < 2 * o.problem.out_channels)
            ),
        ),
        Constraint(
            reason="the local input has more vectors than 16 bits can number",
            holds=lambda t, o: (
                t.tile_k * o.problem.window.size_y * (t.tile_rows + o.problem.window.size_y - 1) <= MOST_VECTORS
            ),
        ),
    )
    # 24 channels of 7 rows and their two neighbours are what a first cache of 48 KiB holds.
    cpu_tiles = tuple(
        SparseConvLocalTile(
            vector_width=width, tile_columns=columns, tile_rows=rows, tile_k=tile_k, block_rows=256, prefetch=1
        )
        for width in (16, 8, 4)
        for columns in (16, 8, 4, 2, 1)
        if columns <= width
        for rows, tile_k in ((7, 24), (8, 20), (4, 32), (2, 32), (1, 32))
    )
    gpu_tiles = ()

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where local memory is a CPU's first cache, and vectors are a work-item's own."""
        if not request.has_vectors or not has_local_form(request.operation.problem):
            return ()
        return sparse_offers(self, request, label="sparse local", place=0)

    def local_mem_bytes(self, tile: SparseConvLocalTile, operation: ConvOperation) -> int:
        size = operation.problem.window.size_y
        vectors = tile.tile_k * size * (tile.tile_rows + size - 1) + tile.block_rows * tile.tile_rows
        return 4 * tile.vector_width * vectors

    def launch(self, tile: SparseConvLocalTile, operation: ConvOperation) -> Launch:
        blocks = ceil_div(operation.problem.out_channels, tile.block_rows)
        return Launch(global_size=(blocks * _position_tiles(tile, operation.problem),), local_size=(1,))

    def variables(self, tile: SparseConvLocalTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            "size": operation.problem.window.size_y,
            "padding": operation.problem.window.top,
            "activation": operation.activation,
            "pooled": operation.pooled,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConvOperation) -> SparseConvLocalTile:
        """Work-groups of one; their local memory is that of a few vectors, which the smallest device has."""
        side = 2 if operation.pooled else 1
        return SparseConvLocalTile(vector_width=4, tile_columns=side, tile_rows=side, tile_k=1, block_rows=1)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> SparseConvLocalTile:
        """Of the named tiles, cut to the layer's channels, the one that brings the fewest vectors of input into local
        memory: those that overlapping tiles, and several blocks, bring twice count as well.
        """
        widest = min(vector_width(device), 16)
        tiles = [_with_channels(tile, operation.problem) for tile in self.own_tiles(device)]
        fitting = [
            tile for tile in tiles if tile.vector_width <= widest and self.rejection(tile, operation, device) is None
        ]

        def cost(tile: SparseConvLocalTile) -> int:
            groups = self.launch(tile, operation).global_size[0]
            return groups * (tile.tile_rows + operation.problem.window.size_y - 1)

        return min(fitting, key=cost, default=self.safe_tile(operation))

    def local_places(
        self, tile: SparseConvLocalTile, operation: ConvOperation, *, channel: Integers, row: Integers, column: Integers
    ) -> Integers:
        size = operation.problem.window.size_y
        return (channel * size + column) * (tile.tile_rows + size - 1) + row

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        """Those of `conv` that have this form, and sides and channels that large tiles fit into, with a remainder."""
        wide = ConvProblem.square(batch=1, in_channels=5, in_height=9, in_width=19, out_channels=21, size=3, padding=1)
        several = ConvProblem.square(
            batch=3, in_channels=7, in_height=7, in_width=7, out_channels=18, size=3, padding=1
        )
        pooled = ConvProblem.square(
            batch=1, in_channels=5, in_height=14, in_width=18, out_channels=17, size=3, padding=1
        )
        large = ConvProblem.square(batch=1, in_channels=3, in_height=11, in_width=12, out_channels=5, size=5, padding=2)
        # as many channels as the largest tile has, for hardly any work
        channels = ConvProblem.square(batch=1, in_channels=17, in_height=7, in_width=4, out_channels=257, size=1)
        others = (
            conv_operation(channels),
            conv_operation(wide, activation="relu", storage=CODEBOOK4),
            conv_operation(several, activation="leaky", storage=INT8),
            conv_operation(pooled, activation="relu", pooled=True),
            conv_operation(large, activation="relu"),
        )
        known = SPARSE_CONV.sample_operations()
        return (*(operation for operation in known if has_local_form(operation.problem)), *others)


def _with_channels(tile: SparseConvLocalTile, problem: ConvProblem) -> SparseConvLocalTile:
    """`tile` with no more channels than the layer has, give or take less than twice."""
    tile_k = max(value for value in TILE_K if value == 1 or value <= min(tile.tile_k, 2 * problem.in_channels - 1))
    most = max(FEW_BLOCK_ROWS, min(tile.block_rows, 2 * problem.out_channels - 1))
    blocks = (value for value in BLOCK_ROWS if value <= most)
    return replace(tile, tile_k=tile_k, block_rows=max(blocks))


def _position_tiles(tile: SparseConvLocalTile, problem: ConvProblem) -> int:
    """Tiles of positions that cover the output of the batch."""
    return ceil_div(piece_count(tile, problem), tile.pieces) * ceil_div(problem.out_width, tile.tile_columns)


SPARSE_CONV_LOCAL = SparseConvLocalKernel()
