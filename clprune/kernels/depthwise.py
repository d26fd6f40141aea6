"""Depthwise convolution, rows of results in registers while input rows go by (`templates/depthwise.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, Window, ceil_div, round_up
from clprune.kernels.arguments import Answer, Arguments, Expected, Launch
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import ConvOperation, conv_operation, conv_problems
from clprune.kernels.convolution import ConvolutionKernel
from clprune.kernels.demand import Demand
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, FLOAT16, INT8, decoded_matrix
from clprune.kernels.tile import WORK_GROUP_CONSTRAINTS, Constraint, values
from clprune.kernels.workload import Workload
from clprune.layout import view
from clprune.packing.arrays import PackedArrays

#: Work-groups of one for each compute unit that an untuned tile leaves at least.
FEWEST_GROUPS = 8

#: Work-items for each compute unit of a GPU: the loads of so many, all of which are under way at once, are what memory
#: brings in the time that one takes.
FEWEST_ITEMS = 256

_TURNS = (1, 8, 64)


@dataclass(frozen=True, kw_only=True)
class DepthwiseTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 2, 4, 8, 16, gpu=(1, 2, 4)))
    tile_rows: int = field(metadata=values(1, 2, 4, 7))
    turns: int = field(default=1, metadata=values(*_TURNS, gpu=(1,)))
    group_n: int = field(default=1, metadata=values(1, 64, 128, 256, cpu=(1,), gpu=(64, 128, 256), before=(1,)))

    @property
    def tile_m(self) -> int:
        """Output channels that are computed together."""
        return 1

    @property
    def work_group_size(self) -> int:
        return self.group_n


class DepthwiseKernel(ConvolutionKernel[DepthwiseTile, ConvOperation]):
    """See `templates/depthwise.cl.mako`."""

    name = "depthwise"
    template = "depthwise"
    tile_type = DepthwiseTile
    computes = ConvOperation
    algorithm = "direct"
    least_share = 1.0  # what was removed is multiplied as zeros
    constraints = (
        Constraint(
            reason="a plane of its own is what every output channel must have as input",
            holds=lambda t, o: o.problem.group_in_channels == 1 and not o.pooled and not o.added,
        ),
        Constraint(
            reason="the tile has more rows than the output",
            holds=lambda t, o: t.tile_rows <= o.problem.out_height,
        ),
        Constraint(
            reason="more than half of the vector lies outside of the output",
            holds=lambda t, o: t.vector_width < 2 * o.problem.out_width,
        ),
        Constraint(
            reason="several turns are for work-groups of one, and for layers with as many tiles",
            holds=lambda t, o: t.turns == 1 or (t.group_n == 1 and t.turns <= _tile_count(t, o)),
        ),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="vectors of two are for work-groups of several items",
            holds=lambda t, o: t.vector_width != 2 or t.group_n > 1,
        ),
    )
    cpu_tiles = tuple(
        DepthwiseTile(vector_width=width, tile_rows=rows, turns=turns)
        for width in (16, 8, 4)
        for rows in (7, 4, 2, 1)
        for turns in reversed(_TURNS)
    )
    gpu_tiles = tuple(
        DepthwiseTile(vector_width=width, tile_rows=rows, group_n=64) for width in (4, 2, 1) for rows in (7, 4, 2, 1)
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """The others share inputs among channels, of which there is one. On CPUs it has always been faster; on GPUs it
        comes before those that skip single weights, too: what it loads takes longer than what it multiplies.
        """
        operation = request.operation
        is_plain = request.form.winograd is None and not operation.pooled and not operation.added
        if not is_plain or operation.problem.group_in_channels > 1:
            return ()
        rank = Rank.SETTLED if request.has_vectors else Rank.PREFERRED
        return (self.offer(request, label="direct depthwise", rank=rank),)

    def own_tiles(self, device: DeviceInfo) -> Sequence[DepthwiseTile]:
        """As everywhere; one position per work-item of a GPU that makes several loads of a vector."""
        return [tile for tile in super().own_tiles(device) if _suits(tile, device)]

    def launch(self, tile: DepthwiseTile, operation: ConvOperation) -> Launch:
        tiles = _tile_count(tile, operation)
        if tile.group_n == 1:
            return Launch(global_size=(ceil_div(tiles, tile.turns),), local_size=(1,))
        vectors = tiles * ceil_div(operation.problem.out_width, tile.vector_width)
        return Launch(global_size=(round_up(vectors, tile.group_n),), local_size=(tile.group_n,))

    def variables(self, tile: DepthwiseTile, operation: ConvOperation) -> dict[str, Any]:
        problem = operation.problem
        return {
            **{side.name: getattr(problem.window, side.name) for side in dataclasses.fields(Window)},
            "multiplier": problem.group_out_channels,
            "is_single": int(problem.batch == 1),
            "stored": min(tile.vector_width, problem.out_width),
            "activation": operation.activation,
        }

    def safe_tile(self, operation: ConvOperation) -> DepthwiseTile:
        return DepthwiseTile(vector_width=4 if operation.problem.out_width > 2 else 1, tile_rows=1)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> DepthwiseTile:
        """Of the device's own tiles that leave work for all of it, the one that computes the fewest vectors, those
        counted twice that registers hold in two parts; of several the one of the most turns.

        On GPUs, of those with enough work-items the one that loads the fewest rows of vectors; else that of the most.
        """
        fewest, lanes = FEWEST_GROUPS * device.compute_units, quirks.vector_width(device)

        def cost(tile: DepthwiseTile) -> tuple[float, int, int]:
            items = self.launch(tile, operation).global_size[0]
            parts = ceil_div(tile.vector_width, lanes) if tile.group_n == 1 else 1
            vectors = ceil_div(operation.problem.out_width, tile.vector_width) * parts
            rows = tile.tile_rows * operation.problem.window.stride_y + operation.problem.window.extent_y
            is_few = items < fewest and tile.turns > 1
            missing = float(is_few) if tile.group_n == 1 else max(1.0, FEWEST_ITEMS * device.compute_units / items)
            return missing, _tile_count(tile, operation) * vectors * rows, -tile.turns

        return min(self.ranked_tiles(operation, device), key=cost, default=self.safe_tile(operation))

    def demand(
        self, tile: DepthwiseTile, operation: ConvOperation, workload: Workload, architecture: Architecture
    ) -> Demand:
        """Per place of the window: all rows of inputs are loaded before any of them is waited for."""
        problem = operation.problem
        window, launch = problem.window, self.launch(tile, operation)
        rows = (tile.tile_rows - 1) * window.stride_y + window.extent_y
        inputs = (tile.vector_width - 1) * window.stride_x + window.extent_x
        width = min(inputs, 4) if architecture.has_vector_loads else 1
        apart = max(1, tile.vector_width * window.stride_x // width)
        loads = ceil_div(inputs, width)
        clocks = architecture.load_clocks(lanes=architecture.warp_size, width=width, stride=apart)
        groups = launch.global_size[0] // launch.work_group_size
        x_bytes, y_bytes = 4.0 * operation.input.elements, 4.0 * operation.output.elements
        return Demand(
            groups=groups,
            work_group_size=launch.work_group_size,
            columns=problem.columns,
            columns_per_turn=problem.columns,
            fmas=tile.tile_rows * tile.vector_width,
            load_instructions=rows * loads / problem.columns + 1,
            cache_clocks=rows * loads * clocks / problem.columns + architecture.load_clocks(lanes=1, width=1),
            local_bytes=0,
            local_mem_bytes=0,
            staged_columns=0,
            memory_bytes=x_bytes + y_bytes,
            shared_cache_bytes=x_bytes * rows / (tile.tile_rows * window.stride_y) + y_bytes,
            streams=True,
            registers=(window.extent_y + 1) * tile.vector_width + problem.columns + 2 * inputs + 20,
        )

    def writes_gaps(self, tile: DepthwiseTile) -> bool:
        return True

    def expected(self, tile: DepthwiseTile, operation: Any, answer: Answer) -> Expected:
        """Zeros in the gaps between rows, too."""
        expected, layout = super().expected(tile, operation, answer), operation.output
        sides = {"height": layout.shape.height - 1, "width": layout.pitch - layout.shape.width}
        gaps = dataclasses.replace(layout, shape=dataclasses.replace(layout.shape, **sides))
        view(expected.values[layout.shape.width :], gaps)[:] = 0
        view(expected.written[layout.shape.width :], gaps)[:] = True
        return expected

    def pack(self, tile: DepthwiseTile, operation: ConvOperation, *, weights: LayerWeights) -> PackedArrays:
        """The weights in float32. Raises UsageError for those beyond the range of the operation's storage."""
        matrix = decoded_matrix(weights, operation.storage)
        return PackedArrays(values=matrix, bias=weights.biases, kept_share=1.0)

    def arguments(self, tile: DepthwiseTile, operation: ConvOperation, packed: PackedArrays) -> Arguments:
        problem = operation.problem
        return {
            "weights": packed.values,
            "bias": packed.bias,
            "tile_count": _tile_count(tile, operation),
            "batch": problem.batch,
            "tiles_per_image": ceil_div(problem.out_height, tile.tile_rows),
            "last_row": problem.out_height - tile.tile_rows,
            "out_height": problem.out_height,
            "out_width": problem.out_width,
            **places(x=operation.input, y=operation.output),
        }

    def sample_operations(self) -> tuple[ConvOperation, ...]:
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "batch")
        shapes = (
            (1, 1, 1, 1, 1, 1, 0, 1),
            (13, 7, 7, 13, 3, 1, 1, 1),
            (5, 14, 13, 5, 3, 2, 1, 3),
            (3, 9, 33, 6, 5, 1, 2, 2),
            (2, 17, 35, 2, 3, 2, 1, 1),
            (3, 11, 31, 3, 4, 3, 2, 1),
            (33, 8, 3, 33, 3, 1, 1, 1),
        )
        activations = ("linear", "relu6", "leaky", "relu", "swish", "linear", "relu")
        problems = [
            dataclasses.replace(problem, groups=problem.in_channels) for problem in conv_problems(names, shapes)
        ]
        plain = [
            conv_operation(problem, activation=activation)
            for problem, activation in zip(problems, activations, strict=True)
        ]
        window = Window(size_y=2, size_x=3, stride_x=2, dilation_y=2, dilation_x=3, top=1, left=2, right=4)
        uneven = ConvProblem(batch=2, in_channels=4, in_height=9, in_width=41, out_channels=4, groups=4, window=window)
        coded = [conv_operation(problems[1], storage=storage) for storage in (FLOAT16, INT8, CODEBOOK4)]
        return (*plain, conv_operation(uneven, activation="relu"), *coded)


def _suits(tile: DepthwiseTile, device: DeviceInfo) -> bool:
    is_single = tile.group_n == 1 or tile.vector_width == 1
    return is_single or quirks.loads_vectors_of_any_place(device)


def _tile_count(tile: DepthwiseTile, operation: ConvOperation) -> int:
    """Tiles of rows that cover the output of the batch."""
    problem = operation.problem
    return problem.out_channels * problem.batch * ceil_div(problem.out_height, tile.tile_rows)


DEPTHWISE = DepthwiseKernel()
