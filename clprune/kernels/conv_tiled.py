"""Direct convolution for GPUs: inputs and weights go through local memory (`templates/conv_tiled.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.arguments import Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv import CONV, many_channels
from clprune.kernels.conv_operation import LONG_SWEEP, POSITION_CONSTRAINTS, ConvOperation, conv_operation
from clprune.kernels.convolution import PositionKernel
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
from clprune.kernels.storage import CODEBOOK4, CODEBOOK8, column_lists, weight_arguments
from clprune.kernels.tile import Constraint, values
from clprune.kernels.windows import window_variables
from clprune.kernels.workload import Workload
from clprune.packing.columns import PackedColumns, divided

_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True, kw_only=True)
class ConvTiledTile(RegisterTile):
    """Parameters of the template, explained there: output channels are rows; with pooling fused, two vectors are two
    rows of positions.
    """

    mapping: str = field(default="flat", metadata=values("flat", "rows"))
    sweep: int = field(default=0, metadata=values(0, 1, 4))
    vector_width: int = field(default=4, metadata=values(4))
    stage_width: int = field(default=1, metadata=values(1, 4, cpu=(1,)))
    splits: int = field(default=1, metadata=values(*_SPLITS, cpu=(1,)))


_SIDES: tuple[dict[str, int], ...] = (
    {"tile_m": 8, "vectors": 2, "group_m": 8, "group_n": 32},
    {"tile_m": 4, "vectors": 2, "group_m": 16, "group_n": 16},  # where registers are few
    {"tile_m": 4, "vectors": 2, "group_m": 8, "group_n": 16},
    {"tile_m": 4, "vectors": 1, "group_m": 4, "group_n": 16},
    {"tile_m": 4, "vectors": 2, "group_m": 4, "group_n": 16, "tile_k": 4},  # LLVM 15 has no registers for 8 on gfx1100
)

#: Fewest output channels of a group for which it is offered: with less most of a work-group's rows are fill.
FEWEST_CHANNELS = 32

#: Chunks of columns that a work-group has at least where several share a list.
FEWEST_CHUNKS = 4

#: Work-groups at most that share lists: more fill any card without, and their sums take memory.
MOST_SPLIT_GROUPS = 1024

#: What the sums of a split cost, in columns of K: their way to the last cache and back, on the cards of
#: clprune.offline 17 to 49 times what a multiply-add takes.
SPLIT_COLUMNS = 48

#: Share of the time that a device computes for which a launch counts as filling it.
FULL_SHARE = 0.7


def _groups(tile: ConvTiledTile, operation: ConvOperation) -> int:
    """Work-groups of a launch, those counted once that share columns."""
    problem = operation.problem
    row_groups = problem.groups * ceil_div(problem.group_out_channels, tile.rows)
    return row_groups * ceil_div(operation.slots(tile), tile.vectors // operation.row_step * tile.group_n)


def _suits(tile: ConvTiledTile, device: DeviceInfo) -> bool:
    return tile.stage_width == 1 or quirks.loads_vectors_of_any_place(device)


def _leaves_room(tile: ConvTiledTile, device: DeviceInfo) -> bool:
    """As `leaves_room`, and where registers are few not many loads are on their way at once."""
    has_few_loads = tile.stage_width > 1 or (tile.mapping == "rows" and tile.tile_k > 4)
    return leaves_room(tile, device) and (has_few_loads or not quirks.has(device, quirks.FEW_REGISTERS))


def _splits_well(tile: ConvTiledTile, operation: ConvOperation) -> bool:
    chunks = operation.problem.columns // tile.tile_k
    few = _groups(tile, operation) * tile.splits <= MOST_SPLIT_GROUPS
    return tile.splits == 1 or (few and chunks >= FEWEST_CHUNKS * tile.splits)


def _full_share(tile: ConvTiledTile, operation: ConvOperation, compute_units: int) -> float:
    """Of the time that `compute_units` take, which get equal work-groups one by one, what they compute."""
    groups, columns = _groups(tile, operation) * tile.splits, operation.problem.columns
    rounds = ceil_div(groups, compute_units) * compute_units / groups
    return columns / (columns * rounds + (SPLIT_COLUMNS * tile.splits if tile.splits > 1 else 0))


class ConvTiledKernel(PositionKernel[ConvTiledTile]):
    """See `templates/conv_tiled.cl.mako`."""

    name = "conv_tiled"
    can_add = True
    template = "conv_tiled"
    most_registers = 128  # of which a GPU with 64 Ki per compute unit gives 16 warps
    generators = (ConvOperation.row_step, window_variables, *REGISTER_TILE_GENERATORS)
    tile_type = ConvTiledTile
    computes = ConvOperation
    algorithm = "direct"
    constraints = (
        *POSITION_CONSTRAINTS,
        *REGISTER_TILE_CONSTRAINTS,
        Constraint(
            reason="fused pooling needs two vectors for the two rows of a window",
            holds=lambda t, o: t.vectors % o.row_step == 0,
        ),
        Constraint(
            reason="vectors of inputs are fetched where neighbours are, at stride 1",
            holds=lambda t, o: t.stage_width == 1 or o.problem.window.stride_x == 1,
        ),
        LONG_SWEEP,
        Constraint(reason="columns are shared out where work-groups are few and columns many", holds=_splits_well),
        Constraint(
            reason="inputs beyond 4 GiB are out of reach of 32 bits", holds=lambda t, o: o.input.elements < 2**30
        ),
        Constraint(
            reason="weights of a codebook have no zero to fill up chunks with",
            holds=lambda t, o: o.storage not in (CODEBOOK8, CODEBOOK4),
        ),
    )
    cpu_tiles = (ConvTiledTile(tile_m=8, vectors=2, group_m=1, group_n=1),)
    # By the hot loops of clprune.offline: 8x8 results and 128 registers, which leave room for a quarter of the warps.
    # Tiles of fewer positions follow, for layers that do not fill a card otherwise (see `default_tile`).
    gpu_tiles = tuple(
        ConvTiledTile(**sides, mapping=mapping, stage_width=stage_width)
        for sides in _SIDES
        for mapping in ("flat", "rows")
        for stage_width in (4, 1)
        if ConvTiledTile(**sides, mapping=mapping, stage_width=stage_width).shares_evenly
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """On GPUs with local memory; early where its rows keep hardly more columns than those of other kernels."""
        operation, form = request.operation, request.form
        problem = operation.problem
        is_possible = form.winograd is None and operation.storage not in (CODEBOOK8, CODEBOOK4)
        if request.has_vectors or not is_possible or problem.group_out_channels < FEWEST_CHANNELS:
            return ()
        default = self.default_tile(operation, request.device)
        if default.work_group_size == 1 or quirks.has(request.device, quirks.EMULATED_LOCAL_MEMORY):
            return ()
        kept, kept_alone = (form.workload.kept_columns(problem.columns, tile_m=rows) for rows in (default.rows, 8))
        skips = kept <= MOST_EXTRA_COLUMNS * kept_alone
        rank = Rank.SPECIAL + 5 if skips else Rank.DOUBTFUL
        return (self.offer(request, label="direct tiled", rank=rank, is_likely=skips),)

    def own_tiles(self, device: DeviceInfo) -> Sequence[ConvTiledTile]:
        """As everywhere, those that fetch inputs as the device does and leave room for its warps."""
        return [tile for tile in super().own_tiles(device) if _suits(tile, device) and _leaves_room(tile, device)]

    def is_worth_trying(self, tile: ConvTiledTile, operation: ConvOperation, device: DeviceInfo) -> bool:
        """As everywhere, of tiles that fetch inputs as the device does."""
        return super().is_worth_trying(tile, operation, device) and _suits(tile, device)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvTiledTile:
        """As everywhere; of the tiles that fit, the first that keeps the device busy, its columns shared out where that
        serves it. Where none does, the one that comes nearest.
        """
        best, best_share = self.safe_tile(operation), 0.0
        for tile in self.own_tiles(device):
            for splits in _SPLITS:
                split = dataclasses.replace(tile, splits=splits)
                if self.rejection(split, operation, device) is None:
                    share = _full_share(split, operation, device.compute_units)
                    best, best_share = (split, share) if share > best_share else (best, best_share)
            if best_share >= FULL_SHARE:
                return best
        return best

    def demand(
        self, tile: ConvTiledTile, operation: ConvOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        problem = operation.problem
        groups = _groups(tile, operation) * tile.splits
        kept = workload.kept_columns(problem.columns, tile_m=tile.rows)
        x_bytes, y_bytes = 4.0 * operation.input.elements, 4.0 * operation.output.elements
        weight_bytes = 4.0 * kept * problem.out_channels
        # Sums are written and read once each, from the last cache if they fit there.
        sum_bytes = 8.0 * tile.splits * self._results(tile, operation) if tile.splits > 1 else 0.0
        return register_tile_demand(
            tile,
            architecture,
            groups=groups,
            columns=ceil_div(ceil_div(kept, tile.tile_k), tile.splits) * tile.tile_k,
            stride=problem.window.stride_x,
            memory_bytes=x_bytes
            + y_bytes
            + weight_bytes
            + (sum_bytes if sum_bytes > architecture.shared_cache_bytes else 0),
            result_bytes=y_bytes + sum_bytes,
        )

    def local_mem_bytes(self, tile: ConvTiledTile, operation: ConvOperation) -> int:
        return local_mem_bytes(tile)

    def launch(self, tile: ConvTiledTile, operation: ConvOperation) -> Launch:
        return self._launch(tile, operation, depth=tile.splits)

    def _launch(self, tile: ConvTiledTile, operation: ConvOperation, *, depth: int) -> Launch:
        """Work-groups as `_groups` says, and so many of them behind each other."""
        sides = (_groups(tile, operation) * tile.group_n, tile.group_m)
        if depth == 1:
            return Launch(global_size=sides, local_size=(tile.group_n, tile.group_m))
        return Launch(global_size=(*sides, depth), local_size=(tile.group_n, tile.group_m, 1))

    def stages(self, tile: ConvTiledTile, operation: ConvOperation) -> tuple[Stage, ...]:
        """Multiply; where columns are shared out, add up."""
        if tile.splits == 1:
            return super().stages(tile, operation)
        addition = self._launch(tile, operation, depth=tile.tile_m)
        return (*super().stages(tile, operation), Stage(name="conv_tiled_add", launch=addition))

    def scratch(self, tile: ConvTiledTile, operation: ConvOperation) -> dict[str, Scratch]:
        """The sums of those that share columns."""
        if tile.splits == 1:
            return {}
        return {"part_sums": Scratch(elements=tile.splits * self._results(tile, operation))}

    def _results(self, tile: ConvTiledTile, operation: ConvOperation) -> int:
        """Of all work-items, fill included."""
        return _groups(tile, operation) * tile.work_group_size * tile.results

    def variables(self, tile: ConvTiledTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            **window_variables(operation.problem.window),
            **register_tile_variables(tile),
            "vectors": tile.vectors // operation.row_step,
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": operation.added,
            "storage": operation.storage,
            "prefetch": 0,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvTiledTile:
        mapping = "flat" if operation.can_be_flat else "rows"
        return ConvTiledTile(tile_m=4, vectors=operation.row_step, group_m=1, group_n=1, tile_k=4, mapping=mapping)

    def wavefront_rows(self, tile: ConvTiledTile) -> int:
        """`tile_m * group_m`: the work-items of a group share inputs, and so the list of kept columns."""
        return tile.rows

    def pack(self, tile: ConvTiledTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per work-group, in whole chunks.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        options = {**operation.list_options, "tile_m": tile.rows, "whole": tile.tile_k}
        return divided(column_lists(weights, operation.storage, **options), tile.group_m)

    def arguments(self, tile: ConvTiledTile, operation: ConvOperation, packed: PackedColumns) -> Arguments:
        blocks = {"block_count": len(packed.blocks)}
        return {
            **self.scratch(tile, operation),
            **weight_arguments(packed),
            **blocks,
            **operation.position_arguments(tile),
            **operation.sum_arguments,
        }

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        """Those of `conv` with at least three output channels per group, of whose storages it has all but codebooks."""
        return tuple(
            operation
            for operation in (*CONV.sample_operations(), *many_channels(32))
            if operation.problem.group_out_channels > 2 and operation.storage not in (CODEBOOK8, CODEBOOK4)
        )

    def probes(self, tile: ConvTiledTile) -> tuple[ConvOperation, ...]:
        """The samples, and more output channels than work-groups sweep over."""
        many = many_channels(tile.rows * max(tile.sweep, 1))
        if tile.splits == 1:
            return (*self.sample_operations(), *many)
        channels = ceil_div(FEWEST_CHUNKS * tile.splits * tile.tile_k, 9)
        deep = ConvProblem.square(
            batch=2, in_channels=channels, in_height=6, in_width=10, out_channels=tile.rows // 2 + 1, size=3, padding=1
        )
        pooled = conv_operation(deep, activation="leaky", pooled=True)
        return (*many, conv_operation(deep, activation="relu"), pooled)


CONV_TILED = ConvTiledKernel()
