"""Convolution with weights and activations in 8 bits (`templates/conv_int8.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.geometry import ConvProblem, Window, ceil_div, round_up
from clprune.kernels.arguments import Answer, Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import (
    LONG_SWEEP,
    MANY_ROWS,
    POSITION_CONSTRAINTS,
    ConvOperation,
    conv_operation,
    conv_problems,
    conv_reference,
)
from clprune.kernels.convolution import PositionKernel
from clprune.kernels.storage import INT8, stored_matrix
from clprune.kernels.tile import PREFETCHING, WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.windows import window_variables
from clprune.layout import padded_layout
from clprune.packing.columns import PackedColumns, pack_columns
from clprune.quantization.coding import LARGEST_CODE, LinearCoding
from clprune.quirks import has_integer_dot_product, takes_wide_shuffles

#: Products of two codes that 32 bits can sum up whatever the codes.
MOST_COLUMNS = (2**31 - 1) // LARGEST_CODE**2

#: What the convolution reads in place of x, whose pitch it has.
_CONV_TAKES = {"x": "q", "x_origin": "q_origin", "x_image_stride": "image_span"}


@dataclass(frozen=True, kw_only=True)
class ConvInt8Tile:
    """Parameters of the template, explained there and in conv.cl.mako."""

    tile_m: int = field(metadata=values(1, 2, 4, 6, 8, 12, 14))
    vector_width: int = field(metadata=values(1, 2, 4, 8, 16, gpu=(1, 2, 4)))
    vectors: int = field(metadata=values(1, 2, 3, 4, 6))
    channels_packed: int = field(metadata=values(2, 4, cpu=(2,), gpu=(4,)))
    group_m: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 32, 64, 128, cpu=(1,), gpu=(32, 64, 128)))
    k_unroll: int = field(default=1, metadata=values(1, 2, 4, cpu=(1, 2)))
    mapping: str = field(default="flat", metadata=values("flat", "rows"))
    sweep: int = field(default=0, metadata=values(0, 1, 4))
    prefetch: int = field(default=0, metadata=values(0, 16, 48, gpu=(0,)))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedInt8(PackedColumns):
    """Words of weight codes in column lists (their scales are those of the sums), and the input's inverse scale."""

    inverse_scale: float


def quantize_sizes(work_group_size: int) -> tuple[int, int]:
    """Work-items of a work-group that quantizes the input, and vectors of one work-item: 64 and 1 on GPUs, 1 and 16
    where the kernel's own work-groups are of one.
    """
    return (64, 1) if work_group_size > 1 else (1, 16)


def inverse_scale(activation_scale: float) -> float:
    """What inputs are multiplied by: a float32 value like everything that decides about a code: devices agree."""
    return float(np.float32(1.0 / float(np.float32(activation_scale))))


def input_codes(x: npt.NDArray[np.floating[Any]], activation_scale: float) -> npt.NDArray[np.int8]:
    """Codes of activations of any shape as the kernel computes them, in float32: rounded half to even, saturated."""
    codes = np.rint(x.astype(np.float32) * np.float32(inverse_scale(activation_scale)))
    return np.asarray(np.clip(codes, -LARGEST_CODE, LARGEST_CODE), np.int8)


def linear_coding_of(weights: LayerWeights) -> tuple[LinearCoding, float]:
    """The codes of weights and the scale of activations. Raises UsageError where there are none."""
    coding = weights.coding
    if not isinstance(coding, LinearCoding) or coding.activation_scale is None:
        raise UsageError("an integer layer needs linear codes and a scale for activations: quantize --activations")
    return coding, coding.activation_scale


def channel_words(codes: npt.NDArray[np.int8], channels_packed: int) -> npt.NDArray[np.int32]:
    """`[rows, channels, ...]` codes to `[rows, words, ...]` int32: neighbouring channels in a word, low bits first."""
    words = ceil_div(codes.shape[1], channels_packed)
    filled = np.zeros((len(codes), words * channels_packed, *codes.shape[2:]), np.int8)
    filled[:, : codes.shape[1]] = codes
    bits = 32 // channels_packed
    packed = np.zeros((len(codes), words, *codes.shape[2:]), np.uint32)
    for channel in range(channels_packed):
        part = filled[:, channel::channels_packed].astype(np.int32).astype(np.uint32)
        packed |= (part & np.uint32(2**bits - 1)) << np.uint32(channel * bits)
    return packed.view(np.int32)


def word_operation(operation: ConvOperation, channels_packed: int) -> ConvOperation:
    """The same convolution over words of channels, which lie in a scratch with the input's pitch and padding."""
    layout, problem = operation.input, operation.problem
    words = ceil_div(problem.in_channels, channels_packed)
    return replace(
        operation,
        problem=replace(problem, in_channels=words),
        input=padded_layout(
            batch=problem.batch,
            shape=replace(layout.shape, channels=words),
            pitch=layout.pitch,
            padding=layout.padding_rows,
        ),
    )


class ConvInt8Kernel(PositionKernel[ConvInt8Tile]):
    """See `templates/conv_int8.cl.mako`."""

    name = "conv_int8"
    template = "conv_int8"
    generators = (quantize_sizes, ConvInt8Tile.work_group_size, window_variables)
    tile_type = ConvInt8Tile
    computes = ConvOperation
    algorithm = "direct"
    constraints = (
        Constraint(
            reason="integer sums are for layers without channel groups, and of int8 weights",
            holds=lambda t, o: o.problem.groups == 1 and o.storage == INT8,
        ),
        Constraint(
            reason="sums of so many products may exceed 32 bits",
            holds=lambda t, o: o.problem.columns <= MOST_COLUMNS,
        ),
        *POSITION_CONSTRAINTS,
        Constraint(
            reason="pairs of 16 bits are for work-groups of one with wide vectors",
            holds=lambda t, o: t.channels_packed == 4 or (t.vector_width >= 4 and t.work_group_size == 1),
        ),
        fits_registers(lambda t, o: t.tile_m * t.vectors * t.vector_width * o.row_step, alone=448, shared=64),
        *WORK_GROUP_CONSTRAINTS,
        MANY_ROWS,
        PREFETCHING,
        LONG_SWEEP,
    )
    cpu_tiles = (
        ConvInt8Tile(tile_m=8, vector_width=16, vectors=3, channels_packed=2, prefetch=48),
        ConvInt8Tile(tile_m=8, vector_width=16, vectors=2, channels_packed=2, mapping="rows", prefetch=48),
        ConvInt8Tile(tile_m=4, vector_width=16, vectors=3, channels_packed=2, mapping="rows", prefetch=48),
        ConvInt8Tile(tile_m=8, vector_width=16, vectors=1, channels_packed=2, mapping="rows", prefetch=48),
        ConvInt8Tile(tile_m=4, vector_width=8, vectors=3, channels_packed=2, prefetch=48),
        ConvInt8Tile(tile_m=4, vector_width=8, vectors=2, channels_packed=2, mapping="rows", prefetch=48),
        ConvInt8Tile(tile_m=1, vector_width=8, vectors=2, channels_packed=2, mapping="rows"),
    )
    gpu_tiles = (
        ConvInt8Tile(tile_m=8, vector_width=1, vectors=4, channels_packed=4, group_n=64, k_unroll=2),
        ConvInt8Tile(tile_m=8, vector_width=2, vectors=1, channels_packed=4, group_n=64, k_unroll=2, mapping="rows"),
        ConvInt8Tile(tile_m=8, vector_width=1, vectors=2, channels_packed=4, group_n=64, k_unroll=2, mapping="rows"),
        ConvInt8Tile(tile_m=2, vector_width=2, vectors=1, channels_packed=4, group_n=64, mapping="rows"),
        ConvInt8Tile(tile_m=1, vector_width=1, vectors=4, channels_packed=4, group_n=64, mapping="rows"),
    )

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        """The dot product of a device that has one needs a newer language than the rest of clprune."""
        pairs = ("-DHAS_PAIR_PRODUCTS",) if takes_wide_shuffles(device) else ()
        return (*pairs, "-cl-std=CL3.0", "-DHAS_INTEGER_DOT_PRODUCT") if has_integer_dot_product(device) else pairs

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where the model says that activations are quantized."""
        form = request.form
        if form.winograd is not None or not form.quantizes_input or request.operation.problem.groups > 1:
            return ()
        return (self.offer(request, label="direct int8", rank=Rank.SPECIAL),)

    def launch(self, tile: ConvInt8Tile, operation: ConvOperation) -> Launch:
        blocks = ceil_div(operation.problem.out_channels, tile.tile_m)
        groups = ceil_div(blocks, tile.group_m) * operation.position_groups(tile)
        return Launch(global_size=(groups * tile.group_n, tile.group_m), local_size=(tile.group_n, tile.group_m))

    def stages(self, tile: ConvInt8Tile, operation: ConvOperation) -> tuple[Stage, ...]:
        """Quantize the input, multiply."""
        words = word_operation(operation, tile.channels_packed)
        group, steps = quantize_sizes(tile.work_group_size)
        runs = ceil_div(words.input.image_stride, steps * tile.vector_width)
        quantize = Launch(global_size=(round_up(runs, group), _scratch_rows(tile, words)), local_size=(group, 1))
        return (
            Stage(name="quantize_input", launch=quantize),
            Stage(name=self.name, launch=self.launch(tile, operation), takes=_CONV_TAKES),
        )

    def scratch(self, tile: ConvInt8Tile, operation: ConvOperation) -> dict[str, Scratch]:
        """Words of the input's codes."""
        words = word_operation(operation, tile.channels_packed)
        return {"q": Scratch(elements=_scratch_rows(tile, words) * words.input.image_stride)}

    def variables(self, tile: ConvInt8Tile, operation: ConvOperation) -> dict[str, Any]:
        group, steps = quantize_sizes(tile.work_group_size)
        return {
            **window_variables(operation.problem.window),
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": "",
            "quantize_group": group,
            "quantize_steps": steps,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvInt8Tile:
        mapping = "flat" if operation.can_be_flat else "rows"
        rows = 4 if operation.problem.out_channels >= 4 else 1
        return ConvInt8Tile(tile_m=rows, vector_width=4, vectors=1, channels_packed=4, mapping=mapping)

    def workgroup_rows(self, tile: ConvInt8Tile) -> int:
        """`tile_m * group_m`: a work-group computes `group_m` row blocks side by side."""
        return tile.tile_m * tile.group_m

    def pack(self, tile: ConvInt8Tile, operation: ConvOperation, *, weights: LayerWeights) -> PackedInt8:
        """Kept columns of words of the weights' codes `[out_channels, channels, size, size]` per row block.

        Raises UsageError for weights that are not finite, or without linear codes and a scale for activations.
        """
        stored_matrix(weights, operation.storage)
        coding, activation_scale = linear_coding_of(weights)
        problem, words = operation.problem, word_operation(operation, tile.channels_packed)
        codes = coding.codes.reshape(problem.out_channels, problem.in_channels, problem.window.places)
        columns = pack_columns(
            channel_words(codes, tile.channels_packed).reshape(problem.out_channels, -1),
            bias=weights.biases,
            column_offsets=words.column_offsets,
            tile_m=tile.tile_m,
            blocks_per_group=tile.group_m,
            lookahead=tile.prefetch + tile.k_unroll,
            scales=coding.scales * np.float32(activation_scale),
        )
        return PackedInt8(**vars(columns), inverse_scale=inverse_scale(activation_scale))

    def arguments(self, tile: ConvInt8Tile, operation: ConvOperation, packed: PackedInt8) -> Arguments:
        """Arguments of both stages."""
        words = word_operation(operation, tile.channels_packed)
        q = words.input
        return {
            **self.scratch(tile, operation),
            "inverse_scale": packed.inverse_scale,
            "x_start": operation.input.origin - q.origin,
            "plane": q.channel_stride,
            "image_span": q.image_stride,
            "channels": operation.problem.in_channels,
            "batch": operation.problem.batch,
            **packed.arrays,
            "block_count": len(packed.blocks),
            "q_origin": q.origin,
            **operation.position_arguments(tile),
        }

    def sums(self, operation: ConvOperation, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """Exact sums of codes, scaled. Raises UsageError where weights or activations have no linear code."""
        coding, scale = linear_coding_of(weights)
        codes = coding.codes.reshape(len(coding.codes), -1)
        sums = conv_reference(input_codes(x, scale), codes, np.zeros(len(codes)), operation.problem)
        factors = (coding.scales * np.float32(scale)).astype(np.float64)
        answer: Answer = sums * factors[:, None, None] + weights.biases.astype(np.float64)[:, None, None]
        return answer

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        shapes = (
            # channels, height, width, filters, size, stride, padding, batch, pooled
            (1, 1, 1, 1, 1, 1, 0, 1, False),
            (3, 13, 13, 7, 3, 1, 1, 1, False),
            (5, 7, 33, 16, 3, 1, 1, 2, False),
            (4, 13, 7, 31, 3, 2, 1, 2, False),
            (7, 9, 11, 5, 1, 1, 0, 3, False),
            (9, 59, 61, 3, 3, 1, 1, 1, False),
            (3, 6, 38, 9, 3, 1, 1, 2, True),
            (2, 12, 12, 33, 3, 1, 0, 2, False),
        )
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "batch")
        problems = conv_problems(names, [shape[:-1] for shape in shapes])
        activations = ("leaky", "relu", "linear")
        squares = tuple(
            conv_operation(problem, activation=activations[number % 3], pooled=shapes[number][-1], storage=INT8)
            for number, problem in enumerate(problems)
        )
        window = Window(size_y=2, size_x=5, stride_y=2, dilation_x=2, left=5, bottom=1, right=2)
        uneven = ConvProblem(batch=2, in_channels=6, in_height=9, in_width=21, out_channels=5, window=window)
        return (*squares, conv_operation(uneven, activation="relu", storage=INT8))


def _scratch_rows(tile: ConvInt8Tile, words: ConvOperation) -> int:
    """Planes of one image in the scratch, with those of zeros behind the last: its padding, and what vectors that run
    over the end of the output read.
    """
    overrun = tile.vectors * tile.vector_width * tile.group_n * words.problem.window.stride_x
    return words.problem.in_channels * words.problem.batch + 1 + ceil_div(overrun, words.input.image_stride)


CONV_INT8 = ConvInt8Kernel()
