"""Fully connected layers, dense or column-pruned from one template (`templates/connected.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConnectedProblem, Shape, ceil_div, round_up
from clprune.kernels.arguments import Answer, Arguments, Launch
from clprune.kernels.base import Offer, Request
from clprune.kernels.demand import Demand
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.signature import places
from clprune.kernels.storage import (
    CODEBOOK4,
    CODEBOOK8,
    FLOAT16,
    FLOAT32,
    INT8,
    STORAGE_BITS,
    column_lists,
    decoded_matrix,
    storage_key,
    table_bytes,
    weight_arguments,
)
from clprune.kernels.tile import WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.workload import Workload
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.columns import PackedColumns

#: Kept weights that a shortened layer has at least, which is more than most last-level caches hold.
FEWEST_BYTES = 96 * 2**20

#: Weights before pruning that a shortened layer has at most, whatever is kept: making them takes the time.
MOST_BYTES = 192 * 2**20

#: Rows that keep every compute unit of a GPU busy.
_ROWS_PER_COMPUTE_UNIT = 32

#: Of every tile's rows: no candidate loses to others by a ragged end.
_ROW_MULTIPLE = 256


@dataclass(frozen=True, kw_only=True)
class ConnectedTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1, 4)))
    vectors: int = field(metadata=values(1, 2, 4))
    group_m: int = field(default=1, metadata=values(1, 16, 32, 64, cpu=(1,), gpu=(16, 32, 64)))
    group_k: int = field(default=1, metadata=values(1, 2, 4, 8, 16, cpu=(1,)))
    tile_n: int = field(default=1, metadata=values(1, 2, 4, 8))
    k_unroll: int = field(default=1, metadata=values(1, 2, 4, 8, cpu=(1, 2, 4)))

    @property
    def tile_m(self) -> int:
        """Rows of one work-group, which share one list of kept columns."""
        return self.group_m * self.vectors * self.vector_width

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_k


ConnectedTileT = TypeVar("ConnectedTileT", bound=ConnectedTile)


@dataclass(frozen=True, kw_only=True)
class ConnectedOperation:
    """A fully connected layer of a network; its K runs over (channel, row, column) of the input's layout.

    `storage` is how weights lie in device memory (clprune/kernels/storage.py); sums are float32 in any case.
    """

    problem: ConnectedProblem
    input: Layout
    output: Layout
    activation: str = "linear"
    storage: str = FLOAT32

    @property
    def key(self) -> str:
        return self.problem.key + storage_key(self.storage)

    @property
    def flops(self) -> int:
        return self.problem.flops

    @property
    def column_offsets(self) -> npt.NDArray[np.int32]:
        """Per column of the weight matrix, where its input lies from that of the first one."""
        layout, shape = self.input, self.input.shape
        offsets = (
            np.arange(shape.channels)[:, None, None] * layout.channel_stride
            + np.arange(shape.height)[None, :, None] * layout.pitch
            + np.arange(shape.width)[None, None, :]
        )
        return offsets.reshape(-1).astype(np.int32)

    @property
    def last_column_offset(self) -> int:
        """The largest of `column_offsets`."""
        layout, shape = self.input, self.input.shape
        return (shape.channels - 1) * layout.channel_stride + (shape.height - 1) * layout.pitch + shape.width - 1

    @property
    def is_contiguous(self) -> bool:
        """Whether an image's inputs lie side by side."""
        return self.last_column_offset == self.problem.inputs - 1

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the weights."""
        return (self.problem.outputs, self.problem.inputs)


def connected_operation(
    problem: ConnectedProblem, *, activation: str = "linear", storage: str = FLOAT32
) -> ConnectedOperation:
    """The operation with contiguous layouts on both sides."""
    return ConnectedOperation(
        problem=problem,
        input=contiguous_layout(batch=problem.batch, shape=Shape(channels=problem.inputs, height=1, width=1)),
        output=contiguous_layout(batch=problem.batch, shape=Shape(channels=problem.outputs, height=1, width=1)),
        activation=activation,
        storage=storage,
    )


def connected_reference(x: npt.NDArray[Any], matrix: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Answer:
    """float64 answer `[N, outputs]` before the activation: x `[N, inputs]`, matrix `[outputs, inputs]`."""
    answer: Answer = x.astype(np.float64) @ matrix.astype(np.float64).T + bias.astype(np.float64)
    return answer


#: What holds for the tiles of all kernels below.
CONNECTED_CONSTRAINTS: tuple[Constraint[Any, ConnectedOperation], ...] = (
    Constraint(
        reason="a work-item handles more images than the batch has",
        holds=lambda t, o: t.tile_n == 1 or t.tile_n < 2 * o.problem.batch,
    ),
    *WORK_GROUP_CONSTRAINTS,
    Constraint(
        reason="the tile has more than twice the layer's rows",
        holds=lambda t, o: t.tile_m < 2 * o.problem.outputs or t.tile_m <= 4 or t.work_group_size > 1,
    ),
)


class ConnectedLayerKernel(MatrixKernel[ConnectedTileT, ConnectedOperation]):
    """What all kernels share that compute fully connected layers."""

    computes = ConnectedOperation

    def sums(self, operation: ConnectedOperation, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """The answer `[N, outputs]` before the activation."""
        return connected_reference(x.reshape(len(x), -1), decoded_matrix(weights, operation.storage), weights.biases)

    def local_mem_bytes(self, tile: ConnectedTileT, operation: ConnectedOperation) -> int:
        sums = 0 if tile.group_k == 1 else 4 * tile.group_k * tile.tile_n * tile.tile_m
        return sums + (table_bytes(operation.storage) if tile.work_group_size > 1 else 0)

    def launch(self, tile: ConnectedTileT, operation: ConnectedOperation) -> Launch:
        blocks = ceil_div(operation.problem.outputs, tile.tile_m)
        images = ceil_div(operation.problem.batch, tile.tile_n)
        return Launch(
            global_size=(blocks * tile.group_m, images * tile.group_k), local_size=(tile.group_m, tile.group_k)
        )

    def variables(self, tile: ConnectedTileT, operation: ConnectedOperation) -> dict[str, Any]:
        return {"activation": operation.activation, "storage": operation.storage}

    def safe_tile(self, operation: ConnectedOperation) -> ConnectedTileT:
        return self.tile_type(vector_width=4, vectors=1)

    def arguments(self, tile: ConnectedTileT, operation: ConnectedOperation, packed: Any) -> Arguments:
        layouts = places(x=operation.input, y=operation.output)
        return {**weight_arguments(packed), "batch": operation.problem.batch, **layouts}

    def shortened(self, operation: ConnectedOperation, workload: Workload, device: DeviceInfo) -> ConnectedOperation:
        """Fewer rows of a large layer, packing and checking all of which would take longer than tuning.

        Rows are independent and their weights are read once, so what counts is that they come from memory and not from
        a cache: the shortened layer is still several times larger than the caches of its device.
        """
        problem = operation.problem
        row_bytes = STORAGE_BITS[operation.storage] * problem.columns / 8
        wanted = min(FEWEST_BYTES / (row_bytes * max(workload.kept_share, 0.01)), MOST_BYTES / row_bytes)
        rows = round_up(max(1, int(wanted)), _ROW_MULTIPLE)
        if device.type != "cpu":
            rows = max(rows, _ROWS_PER_COMPUTE_UNIT * device.compute_units)
        if rows >= problem.outputs:
            return operation
        output = contiguous_layout(batch=problem.batch, shape=Shape(channels=rows, height=1, width=1))
        return replace(operation, problem=replace(problem, outputs=rows), output=output)


class ConnectedKernel(ConnectedLayerKernel[ConnectedTile]):
    """See `templates/connected.cl.mako`."""

    name = "connected"
    template = "connected"
    most_registers = 80  # the sums of eight images
    tile_type = ConnectedTile
    constraints = (
        fits_registers(lambda t, o: t.tile_n * t.vectors * t.vector_width, alone=400, shared=64),
        *CONNECTED_CONSTRAINTS,
    )
    cpu_tiles = (
        ConnectedTile(vector_width=16, vectors=2, tile_n=8, k_unroll=2),
        ConnectedTile(vector_width=16, vectors=2, tile_n=4),
        ConnectedTile(vector_width=16, vectors=2),
        ConnectedTile(vector_width=8, vectors=1),
    )
    # Chosen by the estimates of clprune.offline for seven architectures: a layer of 4096 rows fills a large GPU only
    # when many items share its columns, and weights arrive fast only when many loads are under way.
    gpu_tiles = (
        ConnectedTile(vector_width=1, vectors=2, group_m=16, group_k=16, tile_n=8, k_unroll=4),
        ConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=16, tile_n=4, k_unroll=8),
        ConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=16, k_unroll=8),
        ConnectedTile(vector_width=1, vectors=1, group_m=64, k_unroll=8),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        return (self.offer(request, label="columns"),)

    def demand(
        self, tile: ConnectedTile, operation: ConnectedOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        problem = operation.problem
        launch = self.launch(tile, operation)
        blocks, image_groups = ceil_div(problem.outputs, tile.tile_m), ceil_div(problem.batch, tile.tile_n)
        kept = workload.kept_columns(problem.columns, tile_m=tile.tile_m)
        lanes = min(tile.group_m, architecture.warp_size)
        rows_of_lanes = architecture.warp_size // lanes
        value_bytes = max(1, STORAGE_BITS[operation.storage] // 8)  # two of 4 bits are loaded together
        weight_clocks = (
            tile.vectors
            * rows_of_lanes
            * architecture.load_clocks(lanes=lanes, width=tile.vector_width, value_bytes=value_bytes)
        )
        broadcasts = tile.tile_n + 1  # one value of x per image, and the column's offset
        broadcast_clocks = broadcasts * architecture.load_clocks(lanes=rows_of_lanes, width=1)
        weight_bytes = float(blocks * kept * (value_bytes * tile.tile_m + 4))
        x_bytes, y_bytes = 4.0 * problem.batch * kept, 4.0 * problem.batch * problem.outputs
        passes = image_groups if weight_bytes > architecture.shared_cache_bytes else 1
        accumulators = tile.tile_n * tile.vectors * tile.vector_width
        vector_instructions = 1 if architecture.has_vector_loads else tile.vector_width
        return Demand(
            groups=blocks * image_groups,
            work_group_size=launch.work_group_size,
            columns=ceil_div(kept, tile.group_k),
            columns_per_turn=tile.k_unroll,
            fmas=accumulators,
            load_instructions=tile.vectors * vector_instructions + broadcasts,
            cache_clocks=weight_clocks + broadcast_clocks,
            local_bytes=0,
            local_mem_bytes=self.local_mem_bytes(tile, operation),
            staged_columns=0,
            memory_bytes=passes * weight_bytes + x_bytes + y_bytes,
            shared_cache_bytes=image_groups * weight_bytes + blocks * x_bytes + y_bytes,
            streams=True,
            registers=accumulators
            + (tile.vectors * tile.vector_width + tile.tile_n) * tile.k_unroll
            + 2 * tile.tile_n
            + 20,
        )

    def pack(self, tile: ConnectedTile, operation: ConnectedOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[outputs, inputs]` per row block.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        options = {"column_offsets": operation.column_offsets, "tile_m": tile.tile_m}
        return column_lists(weights, operation.storage, **options)

    def sample_operations(self) -> tuple[ConnectedOperation, ...]:
        sizes = ((1, 1, 1), (1, 33, 7), (1, 131, 65), (3, 64, 31), (8, 50, 130))
        plain = tuple(
            connected_operation(ConnectedProblem(batch=n, inputs=k, outputs=m), activation=activation)
            for (n, k, m), activation in zip(sizes, ("linear", "relu", "linear", "leaky", "logistic"), strict=True)
        )
        shape = Shape(channels=3, height=5, width=4)
        padded = ConnectedOperation(
            problem=ConnectedProblem(batch=2, inputs=shape.elements, outputs=13),
            input=padded_layout(batch=2, shape=shape, pitch=6, padding=1),
            output=padded_layout(batch=2, shape=Shape(channels=13, height=1, width=1), pitch=2, padding=1),
            activation="tanh",
        )
        coded = tuple(
            connected_operation(ConnectedProblem(batch=n, inputs=k, outputs=m), activation="relu", storage=storage)
            for storage in (INT8, CODEBOOK8, CODEBOOK4, FLOAT16)
            for n, k, m in ((1, 67, 37), (3, 31, 66))
        )
        return (*plain, padded, *coded)


CONNECTED = ConnectedKernel()
