"""Fully connected layers of many images on GPUs: inputs and weights go through local memory
(`templates/connected_tiled.cl.mako`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConnectedProblem, ceil_div
from clprune.kernels.arguments import Answer, Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.connected import CONNECTED, ConnectedOperation, connected_operation
from clprune.kernels.demand import Demand
from clprune.kernels.matrix import MatrixKernel
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
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, CODEBOOK8, FLOAT16, FLOAT32, INT8, column_lists, weight_arguments
from clprune.kernels.tile import Constraint, values
from clprune.kernels.workload import Workload
from clprune.packing.columns import PackedColumns, divided

_SPLITS = (1, 2, 4, 8, 16)

#: Banks of local memory.
_BANKS = 32


@dataclass(frozen=True, kw_only=True)
class ConnectedTiledTile(RegisterTile):
    """Parameters of the template, explained there: outputs are rows, images are positions."""

    group_m: int = field(metadata=values(1, 8, 16, 32, cpu=(1,), gpu=(8, 16, 32)))
    group_n: int = field(metadata=values(1, 2, 4, 8, 16, cpu=(1,), gpu=(2, 4, 8, 16)))
    splits: int = field(default=1, metadata=values(*_SPLITS, cpu=(1,)))

    @property
    def weights_per_item(self) -> int:
        """Weights of a chunk that a work-item stages."""
        return self.tile_k * self.rows // self.work_group_size

    @property
    def line(self) -> int:
        """Words of a column of inputs in local memory: lines of a chunk begin as many banks apart as vectors, or what
        all work-items store of a column together, take.
        """
        apart = max(4, _BANKS // self.tile_k)
        return self.staged_positions + (apart - self.staged_positions) % _BANKS


#: Images for which it is offered: below, weights are all that takes time.
FEWEST_IMAGES = 16

#: Chunks of columns that a work-group has at least where several share a list.
FEWEST_CHUNKS = 4

#: What the sums of a split cost, in columns of K: see `clprune.kernels.conv_tiled`.
SPLIT_COLUMNS = 48

#: Work-items that occupy a compute unit.
WANTED_ITEMS = 256

#: What a value costs in multiply-adds, about, that a work-item reads from local memory, and one that it brings there.
READ_COST, STAGE_COST = 2, 8


class ConnectedTiledKernel(MatrixKernel[ConnectedTiledTile, ConnectedOperation]):
    """See `templates/connected_tiled.cl.mako`."""

    name = "connected_tiled"
    template = "connected_tiled"
    most_registers = 128  # of which a GPU with 64 Ki per compute unit gives 16 warps
    generators = (*REGISTER_TILE_GENERATORS, ConnectedTiledTile.line)
    tile_type = ConnectedTiledTile
    computes = ConnectedOperation
    constraints = (
        *REGISTER_TILE_CONSTRAINTS,
        Constraint(
            reason="a work-group has more than twice the batch's images",
            holds=lambda t, o: t.staged_positions < 2 * o.problem.batch or t.staged_positions <= 16,
        ),
        Constraint(
            reason="columns are shared out where there are many",
            holds=lambda t, o: t.splits == 1 or o.problem.columns >= FEWEST_CHUNKS * t.splits * t.tile_k,
        ),
        Constraint(
            reason="inputs beyond 4 GiB are out of reach of 32 bits", holds=lambda t, o: o.input.elements < 2**30
        ),
        Constraint(
            reason="weights of a codebook have no zero to fill up chunks with",
            holds=lambda t, o: o.storage not in (CODEBOOK8, CODEBOOK4),
        ),
        Constraint(
            reason="a work-item has no registers to decode short chunks, or two vectors of integers, beside 64 sums",
            holds=lambda t, o: (
                o.storage == FLOAT32
                or t.results < 64
                or (t.tile_k > 4 and (o.storage == FLOAT16 or t.weights_per_item <= 4))
            ),
        ),
    )
    cpu_tiles = (ConnectedTiledTile(tile_m=8, vectors=2, group_m=1, group_n=1, tile_k=8),)
    # By the hot loops of clprune.offline: 8x8 results, as conv_tiled's; chunks of four where eight leave no room for
    # enough warps. Fewer results are for small batches, whose weights take the time.
    # Those of 256 work-items with 32 results are for GPUs of few registers.
    gpu_tiles = (
        ConnectedTiledTile(tile_m=8, vectors=2, group_m=16, group_n=16),
        ConnectedTiledTile(tile_m=8, vectors=2, group_m=32, group_n=8),
        ConnectedTiledTile(tile_m=8, vectors=2, group_m=16, group_n=8),
        ConnectedTiledTile(tile_m=8, vectors=2, group_m=16, group_n=8, tile_k=4),
        ConnectedTiledTile(tile_m=4, vectors=2, group_m=16, group_n=16),
        ConnectedTiledTile(tile_m=4, vectors=2, group_m=32, group_n=8),
        ConnectedTiledTile(tile_m=4, vectors=2, group_m=16, group_n=8),
        ConnectedTiledTile(tile_m=8, vectors=2, group_m=32, group_n=4, tile_k=4),
        ConnectedTiledTile(tile_m=8, vectors=1, group_m=16, group_n=4, tile_k=4),
        ConnectedTiledTile(tile_m=4, vectors=1, group_m=16, group_n=4),
    )

    def own_tiles(self, device: DeviceInfo) -> Sequence[ConnectedTiledTile]:
        """As everywhere, those that leave room for the device's warps."""
        return [tile for tile in super().own_tiles(device) if leaves_room(tile, device)]

    def offers(self, request: Request) -> Sequence[Offer]:
        """For many images on GPUs with local memory; early where its rows keep hardly more columns than 8 rows do."""
        operation, device = request.operation, request.device
        is_possible = operation.storage not in (CODEBOOK8, CODEBOOK4) and operation.problem.batch >= FEWEST_IMAGES
        if request.has_vectors or quirks.has(device, quirks.EMULATED_LOCAL_MEMORY) or not is_possible:
            return ()
        workload, columns = request.form.workload, operation.problem.columns
        default = self.default_for(operation, workload, device)
        if default.work_group_size == 1:
            return ()
        kept, kept_alone = (workload.kept_columns(columns, tile_m=rows) for rows in (default.rows, 8))
        skips = kept <= MOST_EXTRA_COLUMNS * kept_alone
        rank = Rank.SPECIAL + 5 if skips else Rank.DOUBTFUL
        return (self.offer(request, label="columns tiled", rank=rank, is_likely=skips),)

    def sums(self, operation: ConnectedOperation, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        return CONNECTED.sums(operation, x, weights)

    def shortened(self, operation: ConnectedOperation, workload: Workload, device: DeviceInfo) -> ConnectedOperation:
        return CONNECTED.shortened(operation, workload, device)

    def default_tile(self, operation: ConnectedOperation, device: DeviceInfo) -> ConnectedTiledTile:
        """That of dense weights."""
        return self.default_for(operation, Workload(), device)

    def default_for(self, operation: ConnectedOperation, workload: Workload, device: DeviceInfo) -> ConnectedTiledTile:
        """Of the device's tiles that fit, the one that keeps most of the device busy with results, its columns shared
        out where that serves it, for each column that its rows keep.
        """

        def candidates() -> Iterator[ConnectedTiledTile]:
            for tile in self.own_tiles(device):
                for splits in _SPLITS:
                    split = dataclasses.replace(tile, splits=splits)
                    if self.rejection(split, operation, device) is None:
                        yield split

        def share(tile: ConnectedTiledTile) -> float:
            kept = workload.kept_columns(operation.problem.columns, tile_m=tile.rows)
            return _busy_share(tile, operation, device.compute_units) / kept

        return max(candidates(), key=share, default=self.safe_tile(operation))

    def demand(
        self, tile: ConnectedTiledTile, operation: ConnectedOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        problem = operation.problem
        row_groups, image_groups = _sides(tile, operation)
        kept = workload.kept_columns(problem.columns, tile_m=tile.rows)
        x_bytes, y_bytes = 4.0 * operation.input.elements, 4.0 * operation.output.elements
        # Sums are written and read once each, from the last cache if they fit there.
        sum_bytes = 8.0 * self._results(tile, operation) if tile.splits > 1 else 0.0
        passed_on = sum_bytes if sum_bytes > architecture.shared_cache_bytes else 0
        return register_tile_demand(
            tile,
            architecture,
            groups=row_groups * image_groups * tile.splits,
            columns=ceil_div(ceil_div(kept, tile.tile_k), tile.splits) * tile.tile_k,
            stride=ceil_div(architecture.warp_size, tile.tile_k),  # so many images of a line each
            memory_bytes=x_bytes + y_bytes + 4.0 * kept * problem.outputs + passed_on,
            result_bytes=y_bytes + sum_bytes,
        )

    def local_mem_bytes(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> int:
        return local_mem_bytes(tile)

    def launch(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> Launch:
        return self._launch(tile, operation, depth=tile.splits)

    def _launch(self, tile: ConnectedTiledTile, operation: ConnectedOperation, *, depth: int) -> Launch:
        """Work-groups along images and rows, and so many of them behind each other."""
        row_groups, image_groups = _sides(tile, operation)
        return Launch(
            global_size=(image_groups * tile.group_n, row_groups * tile.group_m, depth),
            local_size=(tile.group_n, tile.group_m, 1),
        )

    def stages(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> tuple[Stage, ...]:
        """Multiply; where columns are shared out, add up."""
        if tile.splits == 1:
            return super().stages(tile, operation)
        addition = self._launch(tile, operation, depth=tile.tile_m)
        return (*super().stages(tile, operation), Stage(name="connected_tiled_add", launch=addition))

    def scratch(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> dict[str, Scratch]:
        """The sums of those that share columns."""
        if tile.splits == 1:
            return {}
        return {"part_sums": Scratch(elements=self._results(tile, operation))}

    def _results(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> int:
        """Of all work-items of all splits, fill included."""
        row_groups, image_groups = _sides(tile, operation)
        return tile.splits * row_groups * image_groups * tile.work_group_size * tile.results

    def variables(self, tile: ConnectedTiledTile, operation: ConnectedOperation) -> dict[str, Any]:
        items = tile.work_group_size
        entries = min(tile.tile_k, items)
        return {
            **register_tile_variables(tile),
            "entries": entries,
            "images_at_once": items // entries * tile.stage_width,
            "is_filled": int(operation.problem.batch < tile.staged_positions),
            "activation": operation.activation,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConnectedOperation) -> ConnectedTiledTile:
        return ConnectedTiledTile(tile_m=4, vectors=1, group_m=1, group_n=1, tile_k=4)

    def wavefront_rows(self, tile: ConnectedTiledTile) -> int:
        """`tile_m * group_m`: the work-items of a group share inputs, and so the list of kept columns."""
        return tile.rows

    def pack(self, tile: ConnectedTiledTile, operation: ConnectedOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[outputs, inputs]` per work-group, in whole chunks.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        packed = column_lists(
            weights,
            operation.storage,
            column_offsets=operation.column_offsets,
            tile_m=tile.rows,
            whole=tile.tile_k,
            lookahead=tile.tile_k,
        )
        return divided(packed, tile.group_m)

    def arguments(self, tile: ConnectedTiledTile, operation: ConnectedOperation, packed: PackedColumns) -> Arguments:
        layouts = places(x=operation.input, y=operation.output)
        scratch = self.scratch(tile, operation)
        return {**scratch, **weight_arguments(packed), "batch": operation.problem.batch, **layouts}

    def sample_operations(self) -> tuple[ConnectedOperation, ...]:
        """Those of `connected`, of whose storages it has all but codebooks, and images for its work-groups."""
        known = [one for one in CONNECTED.sample_operations() if one.storage not in (CODEBOOK8, CODEBOOK4)]
        shapes = ((33, 65, 67), (67, 19, 131), (17, 257, 67))
        problems = [ConnectedProblem(batch=n, inputs=k, outputs=m) for n, k, m in shapes]
        many = [connected_operation(problem, activation="leaky") for problem in problems]
        return (*known, *many, connected_operation(problems[0], activation="relu", storage=INT8))

    def probes(self, tile: ConnectedTiledTile) -> tuple[ConnectedOperation, ...]:
        """More images and outputs than half of a work-group has, and columns for all splits."""
        columns = FEWEST_CHUNKS * tile.splits * tile.tile_k + 1
        problem = ConnectedProblem(batch=tile.staged_positions // 2 + 1, inputs=columns, outputs=tile.rows // 2 + 1)
        return (*self.sample_operations(), connected_operation(problem, activation="relu"))


def _sides(tile: ConnectedTiledTile, operation: ConnectedOperation) -> tuple[int, int]:
    """Work-groups along outputs and along images."""
    problem = operation.problem
    return ceil_div(problem.outputs, tile.rows), ceil_div(problem.batch, tile.staged_positions)


def _busy_share(tile: ConnectedTiledTile, operation: ConnectedOperation, compute_units: int) -> float:
    """Of the time that `compute_units` take, which get equal work-groups one by one, what they multiply for results."""
    problem = operation.problem
    row_groups, image_groups = _sides(tile, operation)
    groups = row_groups * image_groups * tile.splits
    most = ceil_div(groups, compute_units)  # of a compute unit
    rounds = most * compute_units / groups * max(1.0, WANTED_ITEMS / (most * tile.work_group_size))
    adding = SPLIT_COLUMNS * tile.splits if tile.splits > 1 else 0
    useful = problem.outputs * problem.batch / (row_groups * tile.rows * image_groups * tile.staged_positions)
    read = tile.tile_m + tile.results // tile.tile_m
    staged = (tile.rows + tile.staged_positions) / tile.work_group_size
    multiplied = tile.results / (tile.results + READ_COST * read + STAGE_COST * staged)
    return problem.columns / (problem.columns * rounds + adding) * useful * multiplied


CONNECTED_TILED = ConnectedTiledKernel()
