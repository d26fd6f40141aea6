"""Direct convolution, dense or column-pruned from one template (`templates/conv.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, PoolProblem, Shape
from clprune.kernels.base import (
    WORK_GROUP_CONSTRAINTS,
    Case,
    Constraint,
    DeviceArray,
    Expected,
    Launch,
    MatrixKernel,
    Sample,
    TileT,
    Workload,
    ceil_div,
)
from clprune.kernels.pool import max_pool_reference
from clprune.kernels.samples import coded_weights, expected_output, input_buffer, random_matrix
from clprune.kernels.storage import (
    CODEBOOK4,
    CODEBOOK8,
    FLOAT16,
    FLOAT32,
    INT8,
    device_table,
    device_values,
    storage_key,
    stored_matrix,
)
from clprune.layout import Layout, padded_layout
from clprune.packing.columns import PackedColumns, pack_columns
from clprune.quirks import vector_width


@dataclass(frozen=True, kw_only=True)
class ConvTile:
    """Parameters of the template, explained there.

    A work-item computes `tile_m` output channels x `vectors * vector_width` positions; a work-group
    `tile_m * group_m` channels. With pooling fused a vector covers two rows of positions.
    """

    tile_m: int
    vector_width: int
    vectors: int
    group_m: int = 1
    group_n: int = 1
    tile_k: int = 0
    k_unroll: int = 1
    mapping: str = "flat"
    sweep: int = 0
    prefetch: int = 0

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n


class PositionTile(Protocol):
    """What of a tile says how output positions are spread over work-items (templates/convolution.mako)."""

    @property
    def vector_width(self) -> int: ...

    @property
    def vectors(self) -> int: ...

    @property
    def group_n(self) -> int: ...

    @property
    def mapping(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class ConvOperation:
    """A convolution of a network: problem, layouts of input and output, fused activation.

    `storage` is how weights lie in device memory (clprune/kernels/storage.py); sums are float32 in any case.
    `pooled`: the 2x2 max pooling of stride 2 that follows is fused; `output` is then the pooled tensor's layout.
    """

    problem: ConvProblem
    input: Layout
    output: Layout
    activation: str = "linear"
    pooled: bool = False
    storage: str = FLOAT32

    @property
    def key(self) -> str:
        return self.problem.key + (" pooled" if self.pooled else "") + storage_key(self.storage)

    @property
    def flops(self) -> int:
        return self.problem.flops

    @property
    def can_be_flat(self) -> bool:
        """Output positions and input positions differ by a constant: vectors may run over row ends."""
        same_images = self.problem.batch == 1 or self.input.image_stride == self.output.image_stride
        is_aligned = self.problem.stride == 1 and self.input.pitch == self.output.pitch and same_images
        return is_aligned and not self.pooled

    @property
    def row_step(self) -> int:
        """Rows of convolution results per row of the output."""
        return 2 if self.pooled else 1

    def accumulators(self, tile: ConvTile) -> int:
        """float32 results that one work-item holds in registers."""
        return tile.tile_m * tile.vectors * tile.vector_width * self.row_step

    @property
    def positions(self) -> int:
        """Length of the flat run from the first to behind the last output."""
        rows = (self.problem.batch - 1) * self.output.image_stride + (self.problem.out_height - 1) * self.output.pitch
        return rows + self.problem.out_width

    def slots(self, tile: PositionTile) -> int:
        """Vectors of positions that cover the output."""
        if tile.mapping == "flat":
            return ceil_div(self.positions, tile.vector_width)
        rows = self.problem.batch * self.problem.out_height // self.row_step
        return rows * ceil_div(self.problem.out_width, tile.vector_width)

    def position_groups(self, tile: PositionTile) -> int:
        """Work-groups along positions."""
        return ceil_div(self.slots(tile), tile.vectors * tile.group_n)

    def position_arguments(self, tile: PositionTile) -> tuple[np.int32, ...]:
        """`position_parameters` of templates/convolution.mako, in order."""
        layout_in, layout_out, problem = self.input, self.output, self.problem
        scalars = (
            self.slots(tile),
            self.positions,
            ceil_div(problem.out_width, tile.vector_width),
            problem.out_width,
            problem.out_height // self.row_step,
            layout_in.origin,
            layout_in.pitch,
            layout_in.image_stride,
            layout_out.origin,
            layout_out.pitch,
            layout_out.image_stride,
            layout_out.channel_stride,
        )
        return tuple(np.int32(value) for value in scalars)

    def valid_positions(self, tile: PositionTile) -> npt.NDArray[np.int8]:
        """-1 where a flat position is an output, 0 where it is padding; one element when the mapping needs none."""
        if tile.mapping != "flat":
            return np.zeros(1, np.int8)
        layout, problem = self.output, self.problem
        position = np.arange(self.slots(tile) * tile.vector_width)
        in_image = position % layout.image_stride if problem.batch > 1 else position
        row, column = in_image // layout.pitch, in_image % layout.pitch
        return -((row < problem.out_height) & (column < problem.out_width)).astype(np.int8)

    @property
    def column_offsets(self) -> npt.NDArray[np.int32]:
        """Per column of a group's weight matrix, where its input lies from that of the output position."""
        problem, layout = self.problem, self.input
        taps = np.arange(problem.size) - problem.padding
        offsets = (
            np.arange(problem.group_in_channels)[:, None, None] * layout.channel_stride
            + taps[None, :, None] * layout.pitch
            + taps[None, None, :]
        )
        return offsets.reshape(-1).astype(np.int32)

    @property
    def group_offset(self) -> int:
        """What the input of one group of channels lies behind that of the one before."""
        return self.problem.group_in_channels * self.input.channel_stride

    def expected(self, answer: npt.NDArray[np.float64], *, mapping: str) -> Expected:
        """`answer` in the output's buffer; a flat run also writes zeros to the gaps between rows and images."""
        expected = expected_output(answer, self.output, terms=self.problem.columns)
        if mapping != "flat":
            return expected
        for channel in range(self.output.shape.channels):
            start = self.output.origin + channel * self.output.channel_stride
            run = slice(start, start + self.positions)
            expected.values[run][~expected.written[run]] = 0
            expected.written[run] = True
        return expected


def conv_operation(
    problem: ConvProblem,
    *,
    activation: str = "linear",
    next_padding: int | None = None,
    pooled: bool = False,
    storage: str = FLOAT32,
) -> ConvOperation:
    """The operation with the layouts that a network would give it: one pitch for both sides where stride is 1.

    `next_padding`: zero border that the output gets for its consumer; by default that of the problem itself.
    """
    padding_out = problem.padding if next_padding is None else next_padding
    shape_in = Shape(channels=problem.in_channels, height=problem.in_height, width=problem.in_width)
    step = 2 if pooled else 1
    shape_out = Shape(channels=problem.out_channels, height=problem.out_height // step, width=problem.out_width // step)
    pitch_in, pitch_out = problem.in_width + problem.padding, shape_out.width + padding_out
    padding_in = problem.padding
    if problem.stride == 1 and not pooled:
        pitch_in = pitch_out = max(pitch_in, pitch_out)
        padding_in = padding_out = max(padding_in, padding_out)
        pitch_in = pitch_out = max(pitch_in, problem.in_width + padding_in, problem.out_width + padding_out)
    return ConvOperation(
        problem=problem,
        input=padded_layout(batch=problem.batch, shape=shape_in, pitch=pitch_in, padding=padding_in),
        output=padded_layout(batch=problem.batch, shape=shape_out, pitch=pitch_out, padding=padding_out),
        activation=activation,
        pooled=pooled,
        storage=storage,
    )


def can_pool(problem: ConvProblem) -> bool:
    """Whether 2x2 windows of stride 2 tile the output without remainder."""
    return problem.out_height % 2 == 0 and problem.out_width % 2 == 0


def pool_problem(problem: ConvProblem) -> PoolProblem:
    """The 2x2 max pooling of stride 2 behind `problem`."""
    return PoolProblem(
        batch=problem.batch,
        channels=problem.out_channels,
        in_height=problem.out_height,
        in_width=problem.out_width,
        size=2,
        stride=2,
    )


def conv_reference(
    x: npt.NDArray[Any], matrix: npt.NDArray[Any], bias: npt.NDArray[Any], problem: ConvProblem
) -> npt.NDArray[np.float64]:
    """float64 answer `[N, out_channels, out_height, out_width]` before the activation.

    x `[N, C, H, W]`, matrix `[out_channels, columns]` (K runs over channel, filter row, filter column), bias
    `[out_channels]`.
    """
    p = problem
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (p.padding, p.padding), (p.padding, p.padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (p.size, p.size), axis=(2, 3))
    windows = windows[:, :, :: p.stride, :: p.stride][:, :, : p.out_height, : p.out_width]
    result = np.empty((p.batch, p.out_channels, p.out_height * p.out_width))
    for image in range(p.batch):
        for group in range(p.groups):
            channels = slice(group * p.group_in_channels, (group + 1) * p.group_in_channels)
            rows = slice(group * p.group_out_channels, (group + 1) * p.group_out_channels)
            columns = windows[image, channels].transpose(0, 3, 4, 1, 2).reshape(p.columns, -1)
            result[image, rows] = matrix[rows].astype(np.float64) @ columns
    result += bias.astype(np.float64)[:, None]
    return result.reshape(p.batch, p.out_channels, p.out_height, p.out_width)


def narrow_tile(
    kernel: MatrixKernel[TileT, ConvOperation], operation: ConvOperation, device: DeviceInfo
) -> TileT | None:
    """The first of a kernel's tiles for CPUs that suits vectors narrower than 16 lanes; None where those are not."""
    if not 1 < vector_width(device) < 16:
        return None
    narrow = (tile for tile in kernel.cpu_tiles if tile.vector_width <= 8)  # type: ignore[attr-defined]
    return next((tile for tile in narrow if kernel.rejection(tile, operation, device) is None), None)


class ConvKernel(MatrixKernel[ConvTile, ConvOperation]):
    """See `templates/conv.cl.mako`."""

    name = "conv"
    template = "conv"
    tile_type = ConvTile
    parameters: ClassVar = {
        "tile_m": (1, 2, 4, 6, 8, 12, 14, 16),
        "vector_width": (1, 2, 4, 8, 16),
        "vectors": (1, 2, 3, 4, 5, 6),
        "group_m": (1, 2, 4),
        "group_n": (1, 32, 64, 128),
        "tile_k": (0, 16, 32),
        "k_unroll": (1, 2, 4),
        "mapping": ("flat", "rows"),
        "sweep": (0, 1, 4),
        "prefetch": (0, 16, 48),
    }
    cpu_values: ClassVar = {"group_m": (1,), "group_n": (1,), "tile_k": (0,), "k_unroll": (1, 2)}
    gpu_values: ClassVar = {"vector_width": (1, 2, 4), "group_n": (32, 64, 128), "prefetch": (0,)}
    constraints = (
        Constraint(
            reason="mapping flat needs stride 1 and one pitch for input and output",
            holds=lambda t, o: t.mapping != "flat" or o.can_be_flat,
        ),
        Constraint(
            reason="fused pooling needs vectors of at least two positions and whole windows",
            holds=lambda t, o: not o.pooled or (t.vector_width >= 2 and can_pool(o.problem)),
        ),
        Constraint(
            reason="vectors of two are for fused pooling by work-groups",
            holds=lambda t, o: t.vector_width != 2 or (o.pooled and t.work_group_size > 1),
        ),
        Constraint(
            reason="the accumulators of a work-item exceed the registers of any device",
            holds=lambda t, o: o.accumulators(t) <= (448 if t.work_group_size == 1 else 96),
        ),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="staging weights in local memory needs a work-group that shares them",
            holds=lambda t, o: t.tile_k == 0 or t.group_n > 1,
        ),
        Constraint(
            reason="the tile has more rows than the layer has output channels per group",
            holds=lambda t, o: t.tile_m * t.group_m < 2 * o.problem.group_out_channels or t.tile_m * t.group_m == 1,
        ),
        Constraint(
            reason="prefetching is for work-groups of one, whose caches are a CPU's",
            holds=lambda t, o: t.prefetch == 0 or t.work_group_size == 1,
        ),
        Constraint(
            reason="a sweep is longer than the layer has row blocks",
            holds=lambda t, o: t.sweep <= 1 or t.sweep * t.group_m * t.tile_m < o.problem.out_channels,
        ),
        Constraint(
            reason="a vector is more than twice as long as an output row",
            holds=lambda t, o: t.vector_width <= 4 or t.mapping == "flat" or t.vector_width < 2 * o.problem.out_width,
        ),
    )
    cpu_tiles = (
        ConvTile(tile_m=8, vector_width=16, vectors=3, prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=2, mapping="rows", prefetch=48),
        ConvTile(tile_m=4, vector_width=16, vectors=3, mapping="rows", prefetch=48),
        ConvTile(tile_m=8, vector_width=16, vectors=1, mapping="rows", prefetch=48),
        ConvTile(tile_m=4, vector_width=8, vectors=3, prefetch=48),
        ConvTile(tile_m=4, vector_width=8, vectors=2, mapping="rows", prefetch=48),
        ConvTile(tile_m=12, vector_width=16, vectors=1, mapping="rows"),
        # Rows of 14: one vector each, and as many channels as registers hold (512x14x14: 22 % faster than the first).
        ConvTile(tile_m=14, vector_width=16, vectors=2, k_unroll=2, mapping="rows", sweep=1, prefetch=48),
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

    def local_mem_bytes(self, tile: ConvTile, operation: ConvOperation) -> int:
        return 4 * tile.group_m * tile.tile_k * (tile.tile_m + 1)

    def launch(self, tile: ConvTile, operation: ConvOperation) -> Launch:
        blocks = operation.problem.groups * ceil_div(operation.problem.group_out_channels, tile.tile_m)
        groups = ceil_div(blocks, tile.group_m) * operation.position_groups(tile)
        # Positions lie along dimension 0 of a work-group: they are the lanes of a warp.
        local_size = (tile.group_n, tile.group_m)
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=local_size)

    def variables(self, tile: ConvTile, operation: ConvOperation) -> dict[str, Any]:
        return {
            "stride": operation.problem.stride,
            "activation": operation.activation,
            "pooled": operation.pooled,
            "storage": operation.storage,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvTile:
        rows = 4 if operation.problem.group_out_channels >= 4 else 1
        return ConvTile(tile_m=rows, vector_width=4, vectors=1, mapping="rows")

    def is_worth_trying(self, tile: ConvTile, operation: ConvOperation, device: DeviceInfo) -> bool:
        """As everywhere; on CPUs vectors also fill at least half a register."""
        is_narrow = 2 * tile.vector_width < vector_width(device)
        return super().is_worth_trying(tile, operation, device) and not is_narrow

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvTile:
        return narrow_tile(self, operation, device) or super().default_tile(operation, device)

    def wavefront_rows(self, tile: ConvTile) -> int:
        """`tile_m`: the lanes of a SIMD group are positions, and each computes the same `tile_m` output channels.

        All of them follow the one list of kept columns of their row block.
        """
        return tile.tile_m

    def workgroup_rows(self, tile: ConvTile) -> int:
        """`tile_m * group_m`: a work-group computes `group_m` row blocks side by side and stages weights for all."""
        return tile.tile_m * tile.group_m

    def pack(self, tile: ConvTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per row block.

        Raises UsageError for weights that are not finite or not coded as the operation's storage.
        """
        stored = stored_matrix(weights, operation.storage)
        packed = pack_columns(
            stored.values,
            bias=weights.biases,
            column_offsets=operation.column_offsets,
            tile_m=tile.tile_m,
            groups=operation.problem.groups,
            group_offset=operation.group_offset,
            blocks_per_group=tile.group_m,
            lookahead=tile.prefetch + tile.k_unroll,
            scales=stored.scales,
            codebook=stored.codebook,
        )
        return replace(packed, values=device_values(packed.values, operation.storage))

    def arguments(
        self, tile: ConvTile, operation: ConvOperation, packed: PackedColumns, *, x: DeviceArray, y: DeviceArray
    ) -> tuple[DeviceArray, ...]:
        """The template's arguments in order; arrays are still to be copied to the device."""
        arrays = (
            packed.values,
            device_table(packed.scales),
            device_table(packed.codebook),
            packed.offsets,
            packed.blocks,
            packed.bias,
            operation.valid_positions(tile),
        )
        return (x, *arrays, y, np.int32(len(packed.blocks)), *operation.position_arguments(tile))

    def sample(self, operation: ConvOperation, workload: Workload) -> Sample:
        problem = operation.problem
        rng = np.random.default_rng(workload.seed)
        x = rng.standard_normal((problem.batch, problem.in_channels, problem.in_height, problem.in_width), np.float32)
        matrix = random_matrix(rng, rows=problem.out_channels, columns=problem.columns, workload=workload)
        bias = rng.standard_normal(problem.out_channels, np.float32)
        weights = coded_weights(matrix, bias=bias, storage=operation.storage)
        answer = activate(operation.activation, conv_reference(x, weights.weights, bias, problem))
        if operation.pooled:
            answer = max_pool_reference(answer, pool_problem(problem))
        return Sample(inputs={"x": x, "matrix": matrix, "bias": bias}, answer=answer)

    def case(self, tile: ConvTile, operation: ConvOperation, sample: Sample) -> Case:
        expected = operation.expected(sample.answer, mapping=tile.mapping)
        inputs = sample.inputs
        weights = coded_weights(inputs["matrix"], bias=inputs["bias"], storage=operation.storage)
        packed = self.pack(tile, operation, weights=weights)
        buffer = input_buffer(inputs["x"], operation.input)
        arguments = self.arguments(tile, operation, packed, x=buffer, y=expected)
        return Case(arguments=arguments, kept_share=packed.kept_share)

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        shapes = (
            # channels, height, width, filters, size, stride, padding, groups, batch
            (1, 1, 1, 1, 1, 1, 0, 1, 1),
            (3, 13, 13, 7, 3, 1, 1, 1, 1),
            (5, 7, 33, 16, 3, 1, 1, 1, 2),
            (4, 13, 7, 31, 3, 2, 1, 1, 2),
            (3, 31, 17, 8, 5, 1, 2, 1, 1),
            (7, 9, 11, 5, 1, 1, 0, 1, 3),
            (3, 17, 13, 6, 7, 3, 2, 1, 1),
            (6, 8, 9, 10, 3, 1, 1, 2, 1),
            (13, 6, 5, 13, 3, 1, 1, 13, 1),
            (2, 12, 12, 33, 3, 1, 0, 1, 2),
            (3, 9, 11, 37, 3, 1, 1, 1, 1),
            (1, 59, 61, 3, 3, 1, 1, 1, 1),
        )
        activations = ("leaky", "relu", "logistic", "linear")
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "groups", "batch")
        problems = [ConvProblem(**dict(zip(names, shape, strict=True))) for shape in shapes]
        plain = tuple(
            conv_operation(problem, activation=activations[index % len(activations)])
            for index, problem in enumerate(problems)
        )
        pooled = (
            ConvProblem(batch=2, in_channels=3, in_height=6, in_width=38, out_channels=9, size=3, padding=1),
            ConvProblem(batch=1, in_channels=5, in_height=15, in_width=11, out_channels=4, size=2, stride=2, padding=1),
        )
        storages = (FLOAT16, INT8, CODEBOOK8, CODEBOOK4)
        coded = tuple(
            conv_operation(problem, activation="relu", storage=storage)
            for problem, storage in zip((problems[2], problems[7], problems[3], problems[1]), storages, strict=True)
        )
        pooled_int8 = conv_operation(pooled[0], activation="relu", pooled=True, storage=INT8)
        in_one = tuple(conv_operation(problem, activation="leaky", pooled=True) for problem in pooled)
        return (*plain, *coded, pooled_int8, *in_one)


CONV = ConvKernel()
