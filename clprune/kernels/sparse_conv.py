"""Direct sparse convolution: single weights removed (`templates/sparse_conv.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.darknet.values import LayerWeights
from clprune.geometry import ceil_div
from clprune.kernels.arguments import Arguments, Launch
from clprune.kernels.base import Kernel, Offer, Rank, Request
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import POSITION_CONSTRAINTS, ConvOperation
from clprune.kernels.convolution import PositionKernel
from clprune.kernels.samples import ragged_matrix
from clprune.kernels.storage import entry_lists, weight_arguments
from clprune.kernels.tile import PREFETCHING, WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.windows import window_variables
from clprune.packing.row_blocks import PackedRows, pack_rows


@dataclass(frozen=True, kw_only=True)
class SparseConvTile:
    """Parameters of the template, explained there.

    A work-item computes the rows of one block, one after another, for `vectors * vector_width` positions. With pooling
    fused a vector covers two rows of positions.
    """

    block_rows: int = field(metadata=values(1, 4, 16, 64))
    vector_width: int = field(metadata=values(1, 2, 4, 8, 16, gpu=(1, 2, 4)))
    vectors: int = field(metadata=values(1, 2, 4, 6, 8, 10, 12, 16, 20, 24, gpu=(1, 2, 4, 6, 8, 12, 16)))
    group_m: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 32, 64, 128, cpu=(1,), gpu=(32, 64, 128)))
    k_unroll: int = field(default=1, metadata=values(1, 2, 4, cpu=(1, 2)))
    mapping: str = field(default="flat", metadata=values("flat", "rows"))
    prefetch: int = field(default=0, metadata=values(0, 2, 4, 8, gpu=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n


def _accumulators(tile: SparseConvTile, operation: ConvOperation) -> int:
    """float32 results that one work-item holds in registers."""
    return tile.vectors * tile.vector_width * operation.row_step


#: Kept shares of weights up to which a list of them may be faster than multiplying whole columns, and up to which
#: it is likely to be.
MOST_KEPT_SHARE, LIKELY_KEPT_SHARE = 0.5, 0.2


def sparse_offers(kernel: Kernel[Any, Any], request: Request, *, label: str, place: int) -> Sequence[Offer]:
    """Direct sparse convolution: for single weights, of which few are left, and nothing that is added to the results.
    `place`: among kernels that do so.
    """
    workload = request.form.workload
    is_dense = workload.kept_share > MOST_KEPT_SHARE
    if request.form.winograd is not None or is_dense or request.operation.added:
        return ()
    is_likely = workload.unit_rows == 1 and workload.kept_share <= LIKELY_KEPT_SHARE
    rank = (Rank.PREFERRED if is_likely else Rank.DOUBTFUL) + place
    return (kernel.offer(request, label=label, rank=rank, is_likely=is_likely),)


class SparseConvKernel(PositionKernel[SparseConvTile]):
    """See `templates/sparse_conv.cl.mako`."""

    name = "sparse_conv"
    template = "sparse_conv"
    most_registers = 80
    generators = (window_variables,)
    tile_type = SparseConvTile
    computes = ConvOperation
    algorithm = "sparse"
    draw_matrix = staticmethod(ragged_matrix)
    constraints = (
        *POSITION_CONSTRAINTS,
        fits_registers(_accumulators, alone=448, shared=64),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="a work-group has more rows than the layer has output channels",
            holds=lambda t, o: t.block_rows * t.group_m < 2 * o.problem.out_channels or t.block_rows * t.group_m == 1,
        ),
        PREFETCHING,
        Constraint(
            reason="the tile has more than twice the layer's positions",
            holds=lambda t, o: t.vectors == 1 or t.vectors * t.group_n < 2 * o.slots(t),
        ),
    )
    cpu_tiles = (
        SparseConvTile(block_rows=16, vector_width=16, vectors=16, prefetch=4),
        SparseConvTile(block_rows=16, vector_width=16, vectors=4, mapping="rows", prefetch=4),
        SparseConvTile(block_rows=16, vector_width=8, vectors=8, prefetch=4),
        SparseConvTile(block_rows=16, vector_width=8, vectors=4, mapping="rows", prefetch=4),
        SparseConvTile(block_rows=4, vector_width=16, vectors=4, prefetch=4),
        SparseConvTile(block_rows=4, vector_width=8, vectors=1, mapping="rows"),
    )
    # Neighbouring lanes read neighbouring positions (a pooled layer needs two side by side), and offsets and values are
    # the same for all of them; blocks of few rows keep a large GPU busy.
    gpu_tiles = (
        SparseConvTile(block_rows=4, vector_width=1, vectors=6, group_n=64, k_unroll=2),
        SparseConvTile(block_rows=1, vector_width=1, vectors=4, group_n=64, k_unroll=4),
        SparseConvTile(block_rows=1, vector_width=2, vectors=2, group_n=64, k_unroll=2, mapping="rows"),
        SparseConvTile(block_rows=1, vector_width=1, vectors=2, group_n=64, k_unroll=4, mapping="rows"),
        SparseConvTile(block_rows=1, vector_width=1, vectors=1, group_m=2, group_n=32, k_unroll=4, mapping="rows"),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        return sparse_offers(self, request, label="sparse", place=1)

    def launch(self, tile: SparseConvTile, operation: ConvOperation) -> Launch:
        blocks = ceil_div(operation.problem.out_channels, tile.block_rows)
        groups = ceil_div(blocks, tile.group_m) * operation.position_groups(tile)
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=(tile.group_n, tile.group_m))

    def variables(self, tile: SparseConvTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            **window_variables(operation.problem.window),
            "activation": operation.activation,
            "pooled": operation.pooled,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConvOperation) -> SparseConvTile:
        mapping = "flat" if operation.can_be_flat else "rows"
        rows = 4 if operation.problem.out_channels >= 4 else 1
        return SparseConvTile(block_rows=rows, vector_width=4, vectors=1, mapping=mapping)

    def wavefront_rows(self, tile: SparseConvTile) -> int:
        """1: the lanes of a SIMD group are positions, and each row has a list of its own."""
        return 1

    def pack(self, tile: SparseConvTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedRows:
        """The weights `[out_channels, channels, size, size]` that are not zero, in balanced blocks of rows.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        return entry_lists(
            pack_rows,
            weights,
            operation.storage,
            **operation.list_options,
            block_rows=tile.block_rows,
            lookahead=tile.prefetch + tile.k_unroll,
        )

    def arguments(self, tile: SparseConvTile, operation: ConvOperation, packed: PackedRows) -> Arguments:
        blocks = {"block_count": len(packed.blocks) - 1}
        return {**weight_arguments(packed), **blocks, **operation.position_arguments(tile)}

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        return tuple(operation for operation in CONV.sample_operations() if not operation.added)


SPARSE_CONV = SparseConvKernel()
