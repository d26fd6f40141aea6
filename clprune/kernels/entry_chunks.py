"""What kernels share that multiply single weights out of a local copy of some channels of the input at a time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.values import LayerWeights
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.arguments import Arguments
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.convolution import ConvolutionKernel, VectorTile
from clprune.kernels.samples import ragged_matrix
from clprune.kernels.signature import places
from clprune.kernels.storage import entry_lists, weight_arguments
from clprune.packing.chunk_lists import PackedChunkLists, pack_chunk_lists

Integers = NDArray[np.int32]


class ChunkTile(VectorTile, Protocol):
    """Blocks of `block_rows` output channels, and pieces of `tile_rows * tile_columns` positions whose input is copied
    `tile_k` channels at a time.
    """

    @property
    def block_rows(self) -> int: ...
    @property
    def tile_columns(self) -> int: ...
    @property
    def tile_rows(self) -> int: ...
    @property
    def tile_k(self) -> int: ...


ChunkTileT = TypeVar("ChunkTileT", bound=ChunkTile)


class EntryChunksKernel(ConvolutionKernel[ChunkTileT, ConvOperation]):
    """A direct sparse convolution whose entries say where in the local copy their input lies."""

    computes = ConvOperation
    algorithm = "sparse"
    draw_matrix = staticmethod(ragged_matrix)

    @abstractmethod
    def local_places(
        self, tile: ChunkTileT, operation: ConvOperation, *, channel: Integers, row: Integers, column: Integers
    ) -> Integers:
        """Where the input of each weight lies in the local copy, by its channel of the chunk and place in the filter.

        All int32 `[columns]`.
        """

    def whole_entries(self, tile: ChunkTileT) -> int:
        """Of how many entries each list is a multiple; 0: a list begins where another ends."""
        return 0

    def wavefront_rows(self, tile: ChunkTileT) -> int:
        """1: the lanes of a SIMD group are positions, and each row has lists of its own."""
        return 1

    def pack(self, tile: ChunkTileT, operation: ConvOperation, *, weights: LayerWeights) -> PackedChunkLists:
        """The weights `[out_channels, channels, size, size]` that are not zero, by block, `tile_k` channels, and row.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        size = operation.problem.window.size_y
        filters = np.indices((operation.problem.in_channels, size, size), np.int32)
        channel, row, column = filters.reshape(3, -1)
        return entry_lists(
            pack_chunk_lists,
            weights,
            operation.storage,
            column_offsets=self.local_places(tile, operation, channel=channel % tile.tile_k, row=row, column=column),
            column_chunks=channel // tile.tile_k,
            block_rows=tile.block_rows,
            whole=self.whole_entries(tile),
        )

    def arguments(self, tile: ChunkTileT, operation: ConvOperation, packed: PackedChunkLists) -> Arguments:
        problem = operation.problem
        return {
            **weight_arguments(packed),
            "block_count": len(packed.blocks) - 1,
            "in_channels": problem.in_channels,
            "tiles_per_row": ceil_div(problem.out_width, tile.tile_columns),
            "pieces_per_image": ceil_div(problem.out_height, tile.tile_rows),
            "last_piece": piece_count(tile, problem) - 1,
            "last_row": problem.out_height - tile.tile_rows,
            "last_column": problem.out_width - tile.tile_columns,
            **places(x=operation.input, y=operation.output),
        }


def piece_count(tile: ChunkTile, problem: ConvProblem) -> int:
    """Pieces that cover one tile's columns of all images."""
    return problem.batch * ceil_div(problem.out_height, tile.tile_rows)
