"""Depthwise convolution, vectors along rows of one plane (`templates/depthwise.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, Window, ceil_div
from clprune.kernels.arguments import Answer, Arguments, Expected, Launch
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import ConvOperation, conv_operation, conv_problems
from clprune.kernels.convolution import ConvolutionKernel
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, FLOAT16, INT8, decoded_matrix
from clprune.kernels.tile import Constraint, values
from clprune.layout import view
from clprune.packing.arrays import PackedArrays

#: Work-groups for each compute unit that an untuned tile leaves at least.
FEWEST_GROUPS = 8

_TURNS = (1, 8, 64)


@dataclass(frozen=True, kw_only=True)
class DepthwiseTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16))
    tile_rows: int = field(metadata=values(1, 2, 4, 7))
    turns: int = field(default=1, metadata=values(*_TURNS))

    @property
    def tile_m(self) -> int:
        """Output channels that are computed together."""
        return 1


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
            reason="several turns are for layers with as many tiles",
            holds=lambda t, o: t.turns == 1 or t.turns <= _tile_count(t, o),
        ),
    )
    cpu_tiles = tuple(
        DepthwiseTile(vector_width=width, tile_rows=rows, turns=turns)
        for width in (16, 8, 4)
        for rows in (7, 4, 2, 1)
        for turns in reversed(_TURNS)
    )
    gpu_tiles = ()

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where a work-item computes with vectors: the others share inputs among channels, of which there is one."""
        operation = request.operation
        is_plain = request.form.winograd is None and not operation.pooled and not operation.added
        if not request.has_vectors or not is_plain or operation.problem.group_in_channels > 1:
            return ()
        return (self.offer(request, label="direct depthwise", rank=Rank.SETTLED),)

    def launch(self, tile: DepthwiseTile, operation: ConvOperation) -> Launch:
        return Launch(global_size=(ceil_div(_tile_count(tile, operation), tile.turns),), local_size=(1,))

    def variables(self, tile: DepthwiseTile, operation: ConvOperation) -> dict[str, Any]:
        problem = operation.problem
        return {
            **{side.name: getattr(problem.window, side.name) for side in dataclasses.fields(Window)},
            "multiplier": problem.group_out_channels,
            "stored": min(tile.vector_width, problem.out_width),
            "activation": operation.activation,
        }

    def safe_tile(self, operation: ConvOperation) -> DepthwiseTile:
        return DepthwiseTile(vector_width=4 if operation.problem.out_width > 2 else 1, tile_rows=1)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> DepthwiseTile:
        """Of the device's own tiles that leave work for all of it, the one that computes the fewest vectors, those
        counted twice that registers hold in two parts; of several the one of the most turns.
        """
        fewest, lanes = FEWEST_GROUPS * device.compute_units, quirks.vector_width(device)

        def cost(tile: DepthwiseTile) -> tuple[bool, int, int]:
            vectors = ceil_div(operation.problem.out_width, tile.vector_width) * ceil_div(tile.vector_width, lanes)
            rows = tile.tile_rows * operation.problem.window.stride_y + operation.problem.window.extent_y
            is_few = self.launch(tile, operation).global_size[0] < fewest and tile.turns > 1
            return is_few, _tile_count(tile, operation) * vectors * rows, -tile.turns

        return min(self.ranked_tiles(operation, device), key=cost, default=self.safe_tile(operation))

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


def _tile_count(tile: DepthwiseTile, operation: ConvOperation) -> int:
    """Tiles of rows that cover the output of the batch."""
    problem = operation.problem
    return problem.out_channels * problem.batch * ceil_div(problem.out_height, tile.tile_rows)


DEPTHWISE = DepthwiseKernel()
