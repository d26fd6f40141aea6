"""Direct convolution, dense or column-pruned from one template (`templates/conv.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, Window, ceil_div
from clprune.kernels.arguments import Arguments, Launch
from clprune.kernels.base import Offer, Request
from clprune.kernels.conv_operation import (
    LONG_SWEEP,
    MANY_ROWS,
    POSITION_CONSTRAINTS,
    ConvOperation,
    can_pack_rows,
    conv_operation,
    conv_problems,
)
from clprune.kernels.convolution import PositionKernel
from clprune.kernels.demand import Demand
from clprune.kernels.storage import CODEBOOK4, CODEBOOK8, FLOAT16, INT8, column_lists, weight_arguments
from clprune.kernels.tile import PREFETCHING, STAGING, WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.windows import window_variables
from clprune.kernels.workload import WeightForm, Workload
from clprune.packing.columns import PackedColumns
from clprune.quirks import vector_width, wants_explicit_vectors


@dataclass(frozen=True, kw_only=True)
class ConvTile:
    """Parameters of the template, explained there.

    A work-item computes `tile_m` output channels x `vectors * vector_width` positions; a work-group
    `tile_m * group_m` channels, `turns` times over. With pooling fused a vector covers two rows of positions. With
    `chunk` it computes `sweep * tile_m` channels, and all of them go through K together.
    """

    tile_m: int = field(metadata=values(1, 2, 4, 6, 8, 12, 14, 16))
    vector_width: int = field(metadata=values(1, 2, 4, 8, 16, gpu=(1, 2, 4)))
    vectors: int = field(metadata=values(1, 2, 3, 4, 5, 6))
    group_m: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 32, 64, 128, cpu=(1,), gpu=(32, 64, 128)))
    tile_k: int = field(default=0, metadata=values(0, 16, 32, cpu=(0,)))
    k_unroll: int = field(default=1, metadata=values(1, 2, 4, cpu=(1, 2)))
    mapping: str = field(default="flat", metadata=values("flat", "rows", "packed"))
    sweep: int = field(default=0, metadata=values(0, 1, 4, 16))
    prefetch: int = field(default=0, metadata=values(0, 16, 48, gpu=(0,)))
    turns: int = field(default=1, metadata=values(1, 4, gpu=(1,)))
    chunk: int = field(default=0, metadata=values(0, 144, 288, gpu=(0,), before=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n


def accumulators(tile: ConvTile, operation: ConvOperation) -> int:
    """float32 results that one work-item holds in registers."""
    vectors = tile.vectors if tile.mapping == "packed" else tile.vectors * operation.row_step
    return tile.tile_m * vectors * tile.vector_width


def chunk_channels(tile: ConvTile, operation: ConvOperation) -> int:
    """Whole input channels of a chunk of K; 0 where K is in one piece."""
    return max(1, round(tile.chunk / operation.problem.window.places)) if tile.chunk else 0


#: What chunks of K are for.
CHUNK_CONSTRAINTS: tuple[Constraint[Any, ConvOperation], ...] = (
    Constraint(
        reason="chunks of K are for work-groups of one, bands of row blocks, and one group of channels",
        holds=lambda t, o: t.chunk == 0 or (t.work_group_size == 1 and t.sweep > 1 and o.problem.groups == 1),
    ),
    Constraint(
        reason="chunks of K are for vectors that are runs of positions",
        holds=lambda t, o: t.chunk == 0 or t.mapping != "packed",
    ),
    Constraint(
        reason="chunks bring their inputs all at once, if at all, and unroll nothing",
        holds=lambda t, o: t.chunk == 0 or (t.prefetch <= 16 and t.k_unroll == 1),
    ),
    Constraint(
        reason="bands of many row blocks are for chunks of K",
        holds=lambda t, o: t.chunk > 0 or t.sweep <= 4,
    ),
)


#: Columns up to which an untuned tile takes many row blocks together, as one chunk: each of them alone is computed as
#: fast as a CPU driver hands out the next work-group. And work-groups that this leaves each compute unit at least.
MOST_SHORT_COLUMNS, FEWEST_SHORT_GROUPS = 192, 8

#: Rows of a unit from which on what was removed is skipped also where several short rows fill a vector.
FEWEST_PACKED_UNIT_ROWS = 8


class ConvKernel(PositionKernel[ConvTile]):
    """See `templates/conv.cl.mako`."""

    name = "conv"
    can_add = True
    template = "conv"
    generators = (ConvOperation.row_distances, ConvOperation.row_step, window_variables, chunk_channels)
    tile_type = ConvTile
    computes = ConvOperation
    algorithm = "direct"
    constraints = (
        *POSITION_CONSTRAINTS,
        fits_registers(accumulators, alone=448, shared=96),
        *WORK_GROUP_CONSTRAINTS,
        STAGING,
        MANY_ROWS,
        PREFETCHING,
        Constraint(
            reason="several turns are for work-groups of one, and layers with as many tiles of positions",
            holds=lambda t, o: t.turns == 1 or (t.work_group_size == 1 and t.turns * t.vectors <= o.slots(t)),
        ),
        Constraint(
            reason=LONG_SWEEP.reason,
            holds=lambda t, o: (
                LONG_SWEEP.holds(t, o) or (t.chunk > 0 and t.sweep * t.tile_m < 4 * o.problem.out_channels)
            ),
        ),
        *CHUNK_CONSTRAINTS,
    )
    # Short rows first: of 4x4 maps a third of a run of positions is padding, of 2x2 maps more than half.
    cpu_tiles = (
        ConvTile(tile_m=8, vector_width=16, vectors=3, mapping="packed", prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=3, prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=2, mapping="rows", prefetch=48),
        # Pooled, whose inputs leave the cache before all row blocks have read them: chunks. 64x224x224 with 12.5 % kept
        # takes a quarter less time than with the next tile, dense as much.
        ConvTile(tile_m=8, vector_width=16, vectors=1, mapping="rows", sweep=16, prefetch=16, chunk=288),
        ConvTile(tile_m=4, vector_width=16, vectors=3, mapping="rows", prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=1, mapping="rows", prefetch=48),
        # 16 registers of 8 lanes: six channels by two of them leave the rest to what is read.
        ConvTile(tile_m=6, vector_width=8, vectors=2, mapping="packed", prefetch=48),
        ConvTile(tile_m=6, vector_width=16, vectors=1, turns=4, prefetch=48),
        ConvTile(tile_m=6, vector_width=8, vectors=2, prefetch=48),
        ConvTile(tile_m=6, vector_width=8, vectors=2, mapping="rows", prefetch=48),
        ConvTile(tile_m=6, vector_width=8, vectors=1, mapping="rows", sweep=16, prefetch=16, turns=4, chunk=288),
        ConvTile(tile_m=6, vector_width=8, vectors=1, mapping="rows", prefetch=48),
        ConvTile(tile_m=4, vector_width=8, vectors=3, mapping="packed", prefetch=48),
        ConvTile(tile_m=4, vector_width=8, vectors=3, prefetch=48),
        ConvTile(tile_m=4, vector_width=8, vectors=2, mapping="rows", prefetch=48),
        ConvTile(tile_m=12, vector_width=16, vectors=1, mapping="rows"),
        # Rows of 14: one vector each, and as many channels as registers hold (512x14x14: 22 % faster than the first).
        ConvTile(tile_m=14, vector_width=16, vectors=2, k_unroll=2, mapping="rows", sweep=1, prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=3, sweep=16, prefetch=16, turns=4, chunk=288),
        ConvTile(tile_m=1, vector_width=8, vectors=2, mapping="rows"),
    )
    # Chosen by the estimates of clprune.offline for seven architectures: positions that neighbouring lanes read lie
    # side by side (a pooled layer needs two), several columns per turn hide latency, no register is spilled, at least a
    # quarter of the warps fit. Each staged tile has a twin for devices without local memory of their own.
    gpu_tiles = (
        ConvTile(tile_m=8, vector_width=1, vectors=4, group_n=64, tile_k=32, k_unroll=4),
        ConvTile(tile_m=8, vector_width=1, vectors=4, group_n=64, k_unroll=4),
        ConvTile(tile_m=8, vector_width=2, vectors=1, group_m=2, group_n=32, tile_k=16, k_unroll=2, mapping="rows"),
        ConvTile(tile_m=8, vector_width=2, vectors=1, group_n=64, k_unroll=2, mapping="rows"),
        ConvTile(tile_m=8, vector_width=1, vectors=2, group_n=64, tile_k=32, k_unroll=2, mapping="rows"),
        ConvTile(tile_m=8, vector_width=1, vectors=2, group_n=64, k_unroll=2, mapping="rows"),
        ConvTile(tile_m=2, vector_width=2, vectors=1, group_n=64, mapping="rows"),
        ConvTile(tile_m=1, vector_width=1, vectors=4, group_n=64, mapping="rows"),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """Possible for all weights in the spatial domain."""
        return () if request.form.winograd is not None else (self.offer(request, label="direct"),)

    def covers_windows(self, problem: ConvProblem, form: WeightForm, device: DeviceInfo) -> bool:
        """Where vectors are filled with whole rows: of very small images, and weights of which units as tall as tiles
        are gone.
        """
        is_plain = form.winograd is None and not form.quantizes_input
        is_tall = form.workload.unit_rows >= FEWEST_PACKED_UNIT_ROWS
        return is_plain and is_tall and can_pack_rows(problem, vector_width(device))

    def demand(
        self, tile: ConvTile, operation: ConvOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        problem = operation.problem
        launch = self.launch(tile, operation)
        groups = launch.global_size[0] // tile.group_n
        kept = workload.kept_columns(problem.columns, tile_m=tile.tile_m)
        loads = tile.vectors * operation.row_step
        lanes = min(tile.group_n, architecture.warp_size)
        x_clocks = loads * architecture.load_clocks(
            lanes=lanes, width=tile.vector_width, stride=problem.window.stride_x
        )
        x_instructions = loads * (1 if architecture.has_vector_loads else tile.vector_width)
        weight_instructions, weight_clocks, local_bytes = _weight_loads(tile, architecture)
        memory, shared = _conv_bytes(tile, operation, kept, groups, architecture)
        return Demand(
            groups=groups,
            work_group_size=launch.work_group_size,
            columns=kept,
            columns_per_turn=tile.k_unroll,
            fmas=accumulators(tile, operation),
            load_instructions=x_instructions + weight_instructions,
            cache_clocks=x_clocks + weight_clocks,
            local_bytes=local_bytes,
            local_mem_bytes=self.local_mem_bytes(tile, operation),
            staged_columns=tile.tile_k,
            memory_bytes=memory,
            shared_cache_bytes=shared,
            streams=False,
            registers=_conv_registers(tile, operation),
        )

    def local_mem_bytes(self, tile: ConvTile, operation: ConvOperation) -> int:
        if tile.chunk:
            return 4 * tile.turns * tile.sweep * accumulators(tile, operation)  # sums between chunks
        return 4 * tile.group_m * tile.tile_k * (tile.tile_m + 1)

    def launch(self, tile: ConvTile, operation: ConvOperation) -> Launch:
        blocks = operation.problem.groups * ceil_div(operation.problem.group_out_channels, tile.tile_m)
        side_by_side = tile.sweep if tile.chunk else tile.group_m
        groups = ceil_div(blocks, side_by_side) * ceil_div(operation.position_groups(tile), tile.turns)
        # Positions lie along dimension 0 of a work-group: they are the lanes of a warp.
        local_size = (tile.group_n, tile.group_m)
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=local_size)

    def variables(self, tile: ConvTile, operation: ConvOperation) -> dict[str, Any]:
        window = operation.problem.window
        extent = {name: getattr(window, name) for name in ("extent_y", "extent_x", "top", "left")}
        return {
            **window_variables(window),
            **extent,
            "chunk_channels": chunk_channels(tile, operation),
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": operation.added,
            "storage": operation.storage,
            "out_width": operation.problem.out_width,
            "row_distances": operation.row_distances(tile) if tile.mapping == "packed" else (),
        }

    def safe_tile(self, operation: ConvOperation) -> ConvTile:
        mapping = "flat" if operation.can_be_flat else "rows"
        rows = 4 if operation.problem.group_out_channels >= 4 else 1
        return ConvTile(tile_m=rows, vector_width=4, vectors=1, mapping=mapping)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvTile:
        """As everywhere; on CPUs, of layers of few columns, with as many row blocks and turns in a work-group as leave
        work for all of the device.
        """
        tile = super().default_tile(operation, device)
        if not wants_explicit_vectors(device) or operation.problem.columns > MOST_SHORT_COLUMNS:
            return tile
        for sweep, turns in ((16, 4), (16, 1), (4, 4), (4, 1)):
            short = dataclasses.replace(tile, chunk=288, sweep=sweep, turns=turns, prefetch=16, k_unroll=1)
            groups = self.launch(short, operation).global_size[0]
            if groups >= FEWEST_SHORT_GROUPS * device.compute_units and not self.rejection(short, operation, device):
                return short
        return tile

    def is_worth_trying(self, tile: ConvTile, operation: ConvOperation, device: DeviceInfo) -> bool:
        """As everywhere; a sweep of many row blocks and a chunk belong together, inputs are brought, and short chunks
        are for narrow vectors, which take little of a cache otherwise.
        """
        is_short = tile.chunk < 288 and tile.vector_width > 8
        is_whole = tile.sweep > 1 and tile.k_unroll == 1 and tile.prefetch == 16 and not is_short
        fits = is_whole if tile.chunk else tile.sweep <= 4
        return fits and super().is_worth_trying(tile, operation, device)

    def workgroup_rows(self, tile: ConvTile) -> int:
        """`tile_m * group_m`: a work-group computes `group_m` row blocks side by side and stages weights for all. The
        lanes of a SIMD group are positions, all of which follow the one list of kept columns of their row block.
        """
        return tile.tile_m * tile.group_m

    def pack(self, tile: ConvTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per row block.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        return column_lists(
            weights,
            operation.storage,
            **operation.list_options,
            tile_m=tile.tile_m,
            blocks_per_group=tile.group_m,
            lookahead=tile.prefetch + tile.k_unroll,
            chunk_columns=chunk_channels(tile, operation) * operation.problem.window.places,
        )

    def arguments(self, tile: ConvTile, operation: ConvOperation, packed: PackedColumns) -> Arguments:
        blocks = {"block_count": len(packed.blocks)}
        if tile.chunk:
            channels = operation.problem.in_channels
            blocks |= {"chunk_count": ceil_div(channels, chunk_channels(tile, operation)), "channel_count": channels}
        return {**weight_arguments(packed), **blocks, **operation.position_arguments(tile), **operation.sum_arguments}

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        shapes = (
            # channels, height, width, filters, size, stride, padding, groups, batch
            (1, 1, 1, 1, 1, 1, 0, 1, 1),
            (3, 13, 13, 7, 3, 1, 1, 1, 1),
            (5, 7, 33, 16, 3, 1, 1, 1, 1),
            (4, 13, 7, 31, 3, 2, 1, 1, 2),
            (3, 11, 17, 8, 5, 1, 2, 1, 1),
            (7, 9, 11, 5, 1, 1, 0, 1, 3),
            (3, 17, 13, 6, 7, 3, 2, 1, 1),
            (6, 8, 9, 10, 3, 1, 1, 2, 1),
            (13, 6, 5, 13, 3, 1, 1, 13, 1),
            (2, 7, 12, 33, 3, 1, 0, 1, 2),
            (3, 9, 11, 37, 3, 1, 1, 1, 1),
            (1, 59, 61, 3, 3, 1, 1, 1, 1),
            (3, 8, 8, 11, 3, 1, 1, 1, 1),
            (5, 4, 4, 9, 3, 1, 1, 1, 3),
            (6, 2, 2, 10, 3, 1, 1, 2, 4),
            (70, 3, 4, 9, 3, 1, 1, 1, 1),  # as many columns as fill several chunks
        )
        activations = ("leaky", "relu", "logistic", "linear")
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "groups", "batch")
        problems = conv_problems(names, shapes)
        plain = tuple(
            conv_operation(problem, activation=activations[index % len(activations)])
            for index, problem in enumerate(problems)
        )
        pooled = (
            ConvProblem.square(batch=2, in_channels=3, in_height=6, in_width=38, out_channels=9, size=3, padding=1),
            ConvProblem.square(
                batch=1, in_channels=5, in_height=15, in_width=11, out_channels=4, size=2, stride=2, padding=1
            ),
            ConvProblem.square(batch=4, in_channels=3, in_height=2, in_width=2, out_channels=5, size=3, padding=1),
            ConvProblem.square(batch=2, in_channels=2, in_height=8, in_width=8, out_channels=9, size=3, padding=1),
        )
        storages = (FLOAT16, INT8, CODEBOOK8, CODEBOOK4)
        coded = tuple(
            conv_operation(problem, activation="relu", storage=storage)
            for problem, storage in zip((problems[2], problems[7], problems[3], problems[1]), storages, strict=True)
        )
        pooled_int8 = conv_operation(pooled[0], activation="relu", pooled=True, storage=INT8)
        in_one = tuple(conv_operation(problem, activation="leaky", pooled=True) for problem in pooled)
        summed = tuple(
            conv_operation(problem, activation=activation, added=added)
            for problem, activation, added in (
                (problems[2], "linear", "relu"),
                (problems[3], "leaky", "linear"),
                (problems[10], "mish", "linear"),
                (problems[13], "linear", "leaky"),
            )
        )
        summed = (*summed, dataclasses.replace(summed[0], other_shift=29))
        return (*plain, *coded, pooled_int8, *in_one, *uneven_convolutions(), *summed)

    def probes(self, tile: ConvTile) -> tuple[ConvOperation, ...]:
        """The samples, and more output channels than work-groups sweep over."""
        swept, is_packed = tile.tile_m * tile.group_m * max(tile.sweep, 1), tile.mapping == "packed"
        in_channels = 3 + tile.chunk // 9
        return (*self.sample_operations(), *many_channels(swept, in_channels=in_channels, is_packed=is_packed))


def uneven_convolutions() -> list[ConvOperation]:
    """Filters and strides that are no squares, dilation, borders that differ from side to side."""
    windows = (
        Window(size_y=1, size_x=7, left=3, right=3),
        Window(size_y=5, size_x=2, dilation_y=2, dilation_x=3, top=4, left=1, bottom=1, right=2),
        Window(size_y=3, size_x=3, stride_y=2, top=1, left=1, right=1),
        Window(size_y=2, size_x=3, stride_x=3, bottom=1, right=2),
    )
    sizes = {"batch": 2, "in_channels": 4, "in_height": 9, "in_width": 21, "out_channels": 6, "groups": 2}
    return [conv_operation(ConvProblem(**sizes, window=window), activation="relu") for window in windows]


def many_channels(rows: int, *, in_channels: int = 3, is_packed: bool = False) -> list[ConvOperation]:
    """Convolutions with more output channels than the `rows` that a tile's work-groups sweep over, and a ragged end.

    `is_packed`: with rows short enough for several of them to fill a vector.
    """
    problem = ConvProblem.square(
        batch=5 if is_packed else 1,
        in_channels=in_channels,
        in_height=4 if is_packed else 14,
        in_width=4 if is_packed else 34,
        out_channels=2 * rows + 3,
        size=3,
        padding=1,
    )
    return [conv_operation(problem, activation="relu", pooled=pooled) for pooled in (False, True)]


def _weight_loads(tile: ConvTile, architecture: Architecture) -> tuple[float, float, int]:
    """How a warp gets one column's weights and offset: instructions, clocks of the cache, bytes of local memory."""
    values = tile.tile_m + 1  # the column's offset is one more
    if tile.tile_k:
        return ceil_div(tile.tile_m, 4) + 1, 0.0, 4 * values
    is_uniform = tile.group_m == 1
    if is_uniform and architecture.has_scalar_loads:
        return 2, 0.0, 0
    return values, values * architecture.load_clocks(lanes=1, width=1), 0


def _conv_registers(tile: ConvTile, operation: ConvOperation) -> int:
    loads = tile.vectors * operation.row_step
    values = loads * tile.vector_width * min(tile.k_unroll, 2)
    addresses = 4 if tile.mapping == "flat" else 4 * loads
    return accumulators(tile, operation) + values + tile.tile_m + addresses + 16


def _conv_bytes(
    tile: ConvTile, operation: ConvOperation, kept: int, groups: int, architecture: Architecture
) -> tuple[float, float]:
    """(bytes from and to global memory, bytes through the shared cache)."""
    problem, layout = operation.problem, operation.input
    window = problem.window
    blocks = problem.groups * ceil_div(problem.group_out_channels, tile.tile_m)
    x_bytes = 4.0 * layout.elements
    y_bytes = 4.0 * operation.output.elements
    weight_bytes = 4.0 * blocks * kept * (tile.tile_m + 1)
    run = tile.group_n * tile.vectors * tile.vector_width * operation.row_step * window.stride_x
    plane = min(window.size_y * (run + window.extent_x - 1), run + (window.extent_y - 1) * (layout.pitch + 1))
    touched = 1 - (1 - kept / problem.columns) ** window.size_x  # a row is read when any of its columns is kept
    group_bytes = 4.0 * problem.group_in_channels * plane * touched
    group_bytes += 4.0 * kept * tile.group_m * (tile.tile_m + 1)
    x_passes, weight_passes = _passes(
        m_groups=ceil_div(blocks, tile.group_m),
        groups=groups,
        sweep=tile.sweep,
        x_bytes=x_bytes,
        weight_bytes=weight_bytes,
        cache_bytes=architecture.shared_cache_bytes,
    )
    memory_bytes = x_passes * x_bytes + weight_passes * weight_bytes + y_bytes
    return memory_bytes, groups * group_bytes + y_bytes


def _passes(
    *, m_groups: int, groups: int, sweep: int, x_bytes: float, weight_bytes: float, cache_bytes: float
) -> tuple[int, int]:
    """How often input and weights come from global memory: once where the shared cache keeps them.

    In a sweep the weights of `sweep` groups of row blocks stay while positions go by; the next sweep reads the input
    again. Half of the cache is counted on.
    """
    if x_bytes + weight_bytes <= cache_bytes:
        return 1, 1
    height = min(sweep or m_groups, m_groups)
    x_passes = ceil_div(m_groups, height) if x_bytes > cache_bytes / 2 else 1
    weight_passes = ceil_div(groups, m_groups) if weight_bytes * height / m_groups > cache_bytes / 2 else 1
    return x_passes, weight_passes


CONV = ConvKernel()
