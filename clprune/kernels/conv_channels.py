"""Direct convolution of small images, output channels along vectors (`templates/conv_channels.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.arguments import Arguments, Launch
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv import CONV, many_channels
from clprune.kernels.conv_operation import AREA_CONSTRAINTS, ConvOperation, conv_operation
from clprune.kernels.convolution import ConvolutionKernel
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, INT8, column_lists, table_bytes, weight_arguments
from clprune.kernels.tile import PREFETCHING, WORK_GROUP_CONSTRAINTS, Constraint, values
from clprune.kernels.windows import window_variables
from clprune.kernels.workload import WeightForm
from clprune.packing.columns import PackedColumns
from clprune.quirks import EMULATED_LOCAL_MEMORY, has, vector_width, wants_explicit_vectors

#: Vectors of results that fit in the 32 registers of the widest CPUs beside weights and one input.
MOST_VECTORS = 28

#: Multiply-adds that a CPU has under way at once: with fewer results each waits for the one before. And what loads take
#: beside them, in multiply-adds: of a vector of weights, mostly from the second cache or beyond, and of an input.
FMAS_UNDER_WAY, WEIGHTS_FMAS, INPUT_FMAS = 8, 2, 0.5

#: float32 results per work-item of a work-group, which share a GPU's registers.
MOST_RESULTS = 64

#: Sides of an output up to which this kernel is worth measuring, up to which it is likely to be faster than positions
#: along vectors, and up to which it hardly ever loses. With vectors of 16 lanes, or where windows lie apart, it hardly
#: ever loses as far as it is likely.
MOST_SIDE, LIKELY_SIDE, SURE_SIDE = 28, 14, 8

#: It needs a vector of channels and, of pruned ones, as many that lose the same columns as tiles have rows.
FEWEST_CHANNELS, FEWEST_UNIT_ROWS = 16, 32


@dataclass(frozen=True, kw_only=True)
class ConvChannelsTile:
    """Parameters of the template, explained there.

    A work-item computes `vectors * vector_width` output channels at `tile_rows x tile_columns` positions.
    """

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1, 4)))
    vectors: int = field(metadata=values(1, 2, 3, 4, 6))
    tile_rows: int = field(metadata=values(1, 2, 3, 4))
    tile_columns: int = field(metadata=values(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14))
    group_m: int = field(default=1, metadata=values(1, 16, 32, 64, cpu=(1,), gpu=(16, 32, 64)))
    group_n: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    k_unroll: int = field(default=1, metadata=values(1, 2))
    sweep: int = field(default=0, metadata=values(0, 1))
    prefetch: int = field(default=0, metadata=values(0, 16, 48, gpu=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n

    @property
    def tile_m(self) -> int:
        """Rows of a row block: the output channels of a work-group."""
        return self.group_m * self.vectors * self.vector_width

    @property
    def is_smallest(self) -> bool:
        """No tile has fewer rows, of a work-item on its own or of a work-group."""
        return self.tile_m == (1 if self.work_group_size == 1 else 16)

    @property
    def result_vectors(self) -> int:
        """Vectors of results that a work-item holds in registers."""
        return self.vectors * self.tile_rows * self.tile_columns


def _fits_registers(tile: ConvChannelsTile) -> bool:
    if tile.work_group_size == 1:
        return tile.result_vectors <= MOST_VECTORS
    return tile.result_vectors * tile.vector_width <= MOST_RESULTS


class ConvChannelsKernel(ConvolutionKernel[ConvChannelsTile, ConvOperation]):
    """See `templates/conv_channels.cl.mako`."""

    name = "conv_channels"
    can_add = True
    template = "conv_channels"
    most_registers = 64
    generators = (ConvChannelsTile.tile_m, window_variables)
    tile_type = ConvChannelsTile
    computes = ConvOperation
    algorithm = "direct"
    fewest_unit_rows = FEWEST_UNIT_ROWS
    constraints = (
        *AREA_CONSTRAINTS,
        Constraint(
            reason="the results of a work-item exceed the registers of any device",
            holds=lambda t, o: _fits_registers(t),
        ),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="a work-group that has several items shares channels among them",
            holds=lambda t, o: t.work_group_size == 1 or t.group_m > 1,
        ),
        Constraint(
            reason="the tile has more rows than the layer has output channels per group",
            holds=lambda t, o: t.tile_m < 2 * o.problem.group_out_channels or t.is_smallest,
        ),
        PREFETCHING,
    )
    # Two vectors share each input's broadcast, more share it further but need their weights more often. Eight lanes are
    # those of CPUs with 16 registers, which 12 results fill.
    cpu_tiles = (
        ConvChannelsTile(vector_width=16, vectors=2, tile_rows=2, tile_columns=7, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=3, tile_rows=1, tile_columns=7, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=2, tile_rows=2, tile_columns=4, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=4, tile_rows=2, tile_columns=2, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=2, tile_rows=2, tile_columns=2, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=1, tile_rows=2, tile_columns=8, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=1, tile_rows=2, tile_columns=7, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=1, tile_rows=4, tile_columns=4, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=1, tile_rows=2, tile_columns=2, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=16, vectors=1, tile_rows=1, tile_columns=1, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=3, tile_rows=1, tile_columns=4, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=3, tile_rows=2, tile_columns=2, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=1, tile_rows=2, tile_columns=6, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=1, tile_rows=1, tile_columns=7, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=1, tile_rows=2, tile_columns=2, sweep=1, prefetch=48),
        ConvChannelsTile(vector_width=8, vectors=1, tile_rows=1, tile_columns=1, sweep=1, prefetch=48),
    )
    gpu_tiles = (
        ConvChannelsTile(vector_width=1, vectors=1, tile_rows=1, tile_columns=7, group_m=32, group_n=2, k_unroll=2),
        ConvChannelsTile(vector_width=1, vectors=2, tile_rows=2, tile_columns=2, group_m=32, group_n=2, k_unroll=2),
        ConvChannelsTile(vector_width=1, vectors=1, tile_rows=2, tile_columns=2, group_m=32, group_n=2, k_unroll=2),
        ConvChannelsTile(vector_width=1, vectors=1, tile_rows=1, tile_columns=4, group_m=16, group_n=4, k_unroll=2),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """Small images; likely to be faster than `conv` where a work-item computes with vectors."""
        problem = request.operation.problem
        if request.form.winograd is not None or not _has_channels(problem, most_side=MOST_SIDE):
            return ()
        is_likely = request.has_vectors and _has_channels(problem, most_side=LIKELY_SIDE)
        is_apart = problem.window.stride_x > 1 or vector_width(request.device) == 16
        is_sure = is_likely and (is_apart or _has_channels(problem, most_side=SURE_SIDE))
        rank = Rank.SPECIAL if is_sure and _is_whole(request.form) else Rank.ALTERNATIVE
        return (self.offer(request, label="direct channels", rank=rank, is_likely=is_likely),)

    def covers_windows(self, problem: ConvProblem, form: WeightForm, device: DeviceInfo) -> bool:
        """Where it is the first choice however tuned: vectors of very small images, and weights of which whole row
        blocks lose the same columns.
        """
        is_small = _has_channels(problem, most_side=SURE_SIDE)
        return wants_explicit_vectors(device) and _is_whole(form) and is_small

    def local_mem_bytes(self, tile: ConvChannelsTile, operation: ConvOperation) -> int:
        return table_bytes(operation.storage) if tile.work_group_size > 1 else 0

    def launch(self, tile: ConvChannelsTile, operation: ConvOperation) -> Launch:
        problem = operation.problem
        blocks = problem.groups * ceil_div(problem.group_out_channels, tile.tile_m)
        groups = blocks * ceil_div(_tile_count(tile, problem), tile.group_n)
        # Channels lie along dimension 0 of a work-group: they are the lanes of a warp, which load weights side by side.
        return Launch(global_size=(groups * tile.group_m, tile.group_n), local_size=(tile.group_m, tile.group_n))

    def variables(self, tile: ConvChannelsTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            "tile_m": tile.tile_m,
            **window_variables(operation.problem.window),
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": operation.added,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvChannelsTile:
        width = 4 if operation.problem.group_out_channels >= 4 else 1
        side = 2 if operation.pooled else 1
        return ConvChannelsTile(vector_width=width, vectors=1, tile_rows=side, tile_columns=side)

    def ranked_tiles(self, operation: ConvOperation, device: DeviceInfo) -> list[ConvChannelsTile]:
        """As everywhere; on CPUs with short vectors none that are longer than eight lanes."""
        widest = 8 if wants_explicit_vectors(device) and 1 < vector_width(device) < 16 else 16
        return [tile for tile in super().ranked_tiles(operation, device) if tile.vector_width <= widest]

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvChannelsTile:
        """Of the device's own tiles that fit, the one that computes the fewest vectors of results: those of lanes
        without a channel, and those that overlapping tiles compute twice, count as well, and on CPUs what is loaded for
        them. Of layers that are too small for all of them, work-groups on GPUs are of the fewest rows, of which some
        lack a channel.
        """

        def cost(tile: ConvChannelsTile) -> tuple[bool, float]:
            is_emulated = has(device, EMULATED_LOCAL_MEMORY) and self.local_mem_bytes(tile, operation) > 0
            groups = self.launch(tile, operation).global_size[0] // tile.group_m
            each = _column_fmas(tile) if wants_explicit_vectors(device) else tile.result_vectors
            return is_emulated, groups * tile.work_group_size * each

        safe = self.safe_tile(operation)
        group = dataclasses.replace(safe, vector_width=1, group_m=16, group_n=4)
        is_possible = not wants_explicit_vectors(device) and self.rejection(group, operation, device) is None
        return min(self.ranked_tiles(operation, device), key=cost, default=group if is_possible else safe)

    def pack(self, tile: ConvChannelsTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per row block.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        return column_lists(
            weights,
            operation.storage,
            **operation.list_options,
            tile_m=tile.tile_m,
            lookahead=tile.prefetch + tile.k_unroll,
        )

    def arguments(self, tile: ConvChannelsTile, operation: ConvOperation, packed: PackedColumns) -> Arguments:
        problem = operation.problem
        return {
            **weight_arguments(packed),
            "block_count": len(packed.blocks),
            "tile_count": _tile_count(tile, problem),
            "tiles_per_row": ceil_div(problem.out_width, tile.tile_columns),
            "tiles_per_column": ceil_div(problem.out_height, tile.tile_rows),
            "last_row": problem.out_height - tile.tile_rows,
            "last_column": problem.out_width - tile.tile_columns,
            **places(x=operation.input, y=operation.output),
            **operation.sum_arguments,
        }

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        """Those of `conv`, and as many channels as large tiles have, at few positions."""
        small = ConvProblem.square(batch=1, in_channels=5, in_height=2, in_width=2, out_channels=70, size=3, padding=1)
        wide = ConvProblem.square(batch=2, in_channels=3, in_height=5, in_width=15, out_channels=49, size=3, padding=1)
        pooled = ConvProblem.square(
            batch=3, in_channels=4, in_height=4, in_width=14, out_channels=35, size=3, padding=1
        )
        others = (
            conv_operation(small, activation="relu", storage=CODEBOOK4),
            conv_operation(wide, activation="leaky", storage=INT8),
            conv_operation(pooled, activation="relu", pooled=True),
            conv_operation(wide, activation="linear", added="leaky"),
        )
        return (*CONV.sample_operations(), *others)

    def probes(self, tile: ConvChannelsTile) -> tuple[ConvOperation, ...]:
        """The samples, and more output channels than work-groups sweep over."""
        return (*self.sample_operations(), *many_channels(tile.tile_m * max(tile.sweep, 1)))


def _column_fmas(tile: ConvChannelsTile) -> float:
    """What a column takes of a CPU's core, in multiply-adds."""
    inputs = tile.tile_rows * tile.tile_columns
    return max(tile.result_vectors, FMAS_UNDER_WAY) + WEIGHTS_FMAS * tile.vectors + INPUT_FMAS * inputs


def _is_whole(form: WeightForm) -> bool:
    """Whether filters are dense or lose the same columns in whole row blocks, in the spatial domain and in float."""
    is_dense = form.workload.is_dense or form.workload.unit_rows >= FEWEST_UNIT_ROWS
    return is_dense and form.winograd is None and not form.quantizes_input


def _has_channels(problem: ConvProblem, *, most_side: int) -> bool:
    """An output of at most this side, and a vector of channels."""
    is_small = max(problem.out_height, problem.out_width) <= most_side
    return is_small and problem.group_out_channels >= FEWEST_CHANNELS


def _tile_count(tile: ConvChannelsTile, problem: ConvProblem) -> int:
    """Tiles of positions that cover the output of the batch."""
    rows = problem.batch * ceil_div(problem.out_height, tile.tile_rows)
    return rows * ceil_div(problem.out_width, tile.tile_columns)


CONV_CHANNELS = ConvChannelsKernel()
