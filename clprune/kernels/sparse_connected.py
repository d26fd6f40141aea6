"""Fully connected layers with single weights removed (`templates/sparse_connected.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.connected import (
    CONNECTED,
    CONNECTED_CONSTRAINTS,
    ConnectedLayerKernel,
    ConnectedOperation,
    ConnectedTile,
)
from clprune.kernels.samples import ragged_matrix
from clprune.kernels.sparse_conv import MOST_KEPT_SHARE
from clprune.kernels.storage import entry_lists
from clprune.kernels.tile import PREFETCHING, Constraint, fits_registers, values
from clprune.packing.row_lanes import PackedLanes, pack_lanes
from clprune.packing.windows import pack_windows


@dataclass(frozen=True, kw_only=True)
class SparseConnectedTile(ConnectedTile):
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1,)))
    vectors: int = field(metadata=values(1, 2, 4, 8))
    offset_bits: int = field(default=32, metadata=values(8, 16, 32))
    window: int = field(default=0, metadata=values(0, 2, 4, 8, gpu=(0,)))
    prefetch: int = field(default=0, metadata=values(0, 64, 128, 256, gpu=(0,)))

    @property
    def window_inputs(self) -> int:
        """Inputs that the entries of a step lie in, from where it begins; 0: they lie anywhere."""
        return self.window * self.vector_width


class SparseConnectedKernel(ConnectedLayerKernel[SparseConnectedTile]):
    """See `templates/sparse_connected.cl.mako`."""

    name = "sparse_connected"
    template = "sparse_connected"
    tile_type = SparseConnectedTile
    algorithm = "sparse"
    draw_matrix = staticmethod(ragged_matrix)
    constraints = (
        fits_registers(lambda t, o: t.tile_n * t.vectors * t.vector_width, alone=256, shared=32),
        *CONNECTED_CONSTRAINTS,
        Constraint(
            reason="distances of 8 bits are added up from the first step on, by one work-item",
            holds=lambda t, o: t.offset_bits != 8 or t.group_k == 1,
        ),
        Constraint(
            reason="offsets of 16 bits do not reach the end of the input",
            holds=lambda t, o: t.offset_bits != 16 or o.last_column_offset < 2**16,
        ),
        Constraint(
            reason="windows are for vectors, in work-groups of one, and a place in one takes 8 bits",
            holds=lambda t, o: not t.window or (t.vector_width > 1 and t.work_group_size == 1 and t.offset_bits == 8),
        ),
        Constraint(
            reason="a window is larger than the input",
            holds=lambda t, o: t.window_inputs <= o.last_column_offset + 1,
        ),
        PREFETCHING,
    )
    cpu_tiles = (
        SparseConnectedTile(vector_width=16, vectors=1, tile_n=8, offset_bits=8, window=2, prefetch=128),
        SparseConnectedTile(vector_width=16, vectors=2, tile_n=4, offset_bits=8, window=2, prefetch=128),
        SparseConnectedTile(vector_width=16, vectors=8, offset_bits=8, window=4, prefetch=64),
        SparseConnectedTile(vector_width=16, vectors=1, k_unroll=2, offset_bits=8, window=2),
        SparseConnectedTile(vector_width=8, vectors=4, offset_bits=8, window=4, prefetch=64),
        SparseConnectedTile(vector_width=8, vectors=8, k_unroll=2, offset_bits=8),
        SparseConnectedTile(vector_width=8, vectors=1, offset_bits=16),
        SparseConnectedTile(vector_width=8, vectors=1),
    )
    # A layer of 4096 rows fills a large GPU only when many items share its steps.
    gpu_tiles = (
        SparseConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=16, tile_n=4, k_unroll=4, offset_bits=16),
        SparseConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=16, k_unroll=8, offset_bits=16),
        SparseConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=16, k_unroll=8),
        SparseConnectedTile(vector_width=1, vectors=1, group_m=64, k_unroll=4),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """Single weights, of which few are left; a unit of several rows is hardly worth a list for each row."""
        workload = request.form.workload
        if workload.kept_share > MOST_KEPT_SHARE:
            return ()
        is_likely = workload.unit_rows == 1
        rank = Rank.PREFERRED if is_likely else Rank.DOUBTFUL
        return (self.offer(request, label="sparse", rank=rank, is_likely=is_likely),)

    def own_tiles(self, device: DeviceInfo) -> Sequence[SparseConnectedTile]:
        """Windows come last where their vectors are wider than the device's: it would take permutations apart."""
        width = quirks.vector_width(device)
        return sorted(super().own_tiles(device), key=lambda tile: tile.window > 0 and tile.vector_width > width)

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        return ("-DHAS_VECTOR_SUBSCRIPTS",) if quirks.takes_vector_subscripts(device) else ()

    def wavefront_rows(self, tile: SparseConnectedTile) -> int:
        """1: each lane follows a row of its own."""
        return 1

    def pack(self, tile: SparseConnectedTile, operation: ConnectedOperation, *, weights: LayerWeights) -> PackedLanes:
        """The weights `[outputs, inputs]` that are not zero, in blocks of rows of like length.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        options: dict[str, Any] = {"column_offsets": operation.column_offsets, "tile_m": tile.tile_m}
        if tile.window:
            options |= {"vector_width": tile.vector_width, "window": tile.window_inputs}
            return entry_lists(pack_windows, weights, operation.storage, **options)
        return entry_lists(pack_lanes, weights, operation.storage, offset_bits=tile.offset_bits, **options)

    def sample_operations(self) -> tuple[ConnectedOperation, ...]:
        return CONNECTED.sample_operations()


SPARSE_CONNECTED = SparseConnectedKernel()
