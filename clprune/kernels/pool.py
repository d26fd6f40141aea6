"""Pooling: maximum or mean of windows (`templates/window_pool.cl.mako`), mean of planes
(`templates/average_pool.cl.mako`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.pools import AvgPool
from clprune.darknet.values import LayerWeights
from clprune.geometry import PoolProblem, Shape, Window, ceil_div, round_up
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import Constraint, TileT, values
from clprune.kernels.windows import sliding_windows
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays

#: Values of a row that fit into any device's local memory.
MOST_LINE_VALUES = 2048


@dataclass(frozen=True, kw_only=True)
class WindowPoolTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16))
    group_n: int = field(default=1, metadata=values(1, 16, 64))
    group_rows: int = field(default=1, metadata=values(1, 4))
    tile_rows: int = field(default=1, metadata=values(1, 4, 16, 64))


@dataclass(frozen=True, kw_only=True)
class AveragePoolTile:
    """Its one parameter: work-items of a work-group."""

    group_n: int = field(metadata=values(1, 64, 128))


@dataclass(frozen=True, kw_only=True)
class PoolOperation:
    """A pooling layer of a network."""

    problem: PoolProblem
    input: Layout
    output: Layout

    @property
    def key(self) -> str:
        return self.problem.key

    @property
    def flops(self) -> int:
        return self.problem.flops


class MaxPoolOperation(PoolOperation):
    """The maximum of windows, or of channels."""


class WindowAverageOperation(PoolOperation):
    """The mean of windows."""


class AveragePoolOperation(PoolOperation):
    """The mean of every plane; the problem's window is the whole plane."""


PoolOperationT = TypeVar("PoolOperationT", bound=PoolOperation)


def pool_operation(kind: type[PoolOperationT], problem: PoolProblem, *, padding: int = 0) -> PoolOperationT:
    """The operation with `padding` zero columns and rows around both tensors."""
    shape_in = Shape(channels=problem.channels, height=problem.in_height, width=problem.in_width)
    shape_out = Shape(channels=problem.out_channels, height=problem.out_height, width=problem.out_width)
    return kind(
        problem=problem,
        input=padded_layout(batch=problem.batch, shape=shape_in, pitch=shape_in.width + padding, padding=padding),
        output=padded_layout(batch=problem.batch, shape=shape_out, pitch=shape_out.width + padding, padding=padding),
    )


def max_pool_reference(x: npt.NDArray[Any], problem: PoolProblem) -> Answer:
    """float64 answer `[N, out_channels, out_height, out_width]` for x `[N, C, H, W]`."""
    if problem.depth_channels:
        return np.stack([x[:, c :: problem.depth_channels].max(axis=1) for c in range(problem.depth_channels)], axis=1)
    answer: Answer = sliding_windows(x.astype(np.float64), problem.window, border=-np.inf).max(axis=(4, 5))
    return answer


def window_average_reference(x: npt.NDArray[Any], problem: PoolProblem) -> Answer:
    """float64 answer `[N, C, out_height, out_width]` for x `[N, C, H, W]`."""
    windows = sliding_windows(x.astype(np.float64), problem.window, border=0.0 if problem.counts_border else np.nan)
    answer: Answer = np.nanmean(windows, axis=(4, 5))
    return answer


def average_pool_reference(x: npt.NDArray[Any]) -> Answer:
    """float64 answer `[N, C, 1, 1]` for x `[N, C, H, W]`."""
    answer: Answer = x.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    return answer


#: A window of samples: all that darknet's own have not.
_UNEVEN = Window(
    size_y=2, size_x=3, stride_y=2, stride_x=3, dilation_y=2, dilation_x=1, top=1, left=0, bottom=0, right=2
)


class PoolKernel(Kernel[TileT, PoolOperation]):
    """What all kernels share: they compute a layer by themselves."""

    computes: ClassVar[type[PoolOperation]]

    def operation_of(self, layer: Any, *, batch: int, input: Layout, output: Layout) -> PoolOperation:
        return self.computes(problem=layer.problem(batch), input=input, output=output)


def line_values(tile: WindowPoolTile, problem: PoolProblem) -> int:
    """Values, with the border, that windows of a row of the output read of a row of the input, in whole vectors; 0
    where windows are not taken apart: inside the image, where rows are too long, and by a single work-item without
    vectors, which any device runs.
    """
    window = problem.window
    if problem.all_inside or tile.vector_width * tile.group_n == 1:
        return 0
    windows = round_up(problem.out_width, tile.vector_width)
    values = round_up((windows - 1) * window.stride_x + window.extent_x, tile.vector_width)
    return values if values <= MOST_LINE_VALUES else 0


class WindowPoolKernel(PoolKernel[WindowPoolTile]):
    """See `templates/window_pool.cl.mako`."""

    template = "window_pool"
    generators = (line_values,)
    tile_type = WindowPoolTile
    constraints = (
        Constraint(
            reason="a vector is more than twice as long as an output row",
            holds=lambda t, o: t.vector_width <= 4 or t.vector_width < 2 * o.problem.out_width,
        ),
        Constraint(
            reason="wide vectors are for work-groups of one",
            holds=lambda t, o: t.vector_width <= 4 or t.group_n == 1,
        ),
        Constraint(
            reason="four of five work-items of a row would have nothing to do",
            holds=lambda t, o: t.group_n <= 16 or t.group_n < 5 * ceil_div(o.problem.out_width, t.vector_width),
        ),
        Constraint(
            reason="rows of work-items side by side need as many rows in the tile, and several items each",
            holds=lambda t, o: t.group_rows == 1 or (t.group_rows <= t.tile_rows and t.group_n > 1),
        ),
        Constraint(
            reason="the tile has more than four times the rows of the output",
            holds=lambda t, o: t.tile_rows == 1 or t.tile_rows < 4 * o.problem.out_height or t.group_n == 1,
        ),
    )
    cpu_tiles = (WindowPoolTile(vector_width=8, tile_rows=64), WindowPoolTile(vector_width=4, tile_rows=64))
    # Neighbouring items read neighbouring windows; narrow planes need several rows to fill a work-group.
    gpu_tiles = (
        WindowPoolTile(vector_width=1, group_n=64),
        WindowPoolTile(vector_width=1, group_n=16, group_rows=4, tile_rows=4),
    )

    def local_mem_bytes(self, tile: WindowPoolTile, operation: PoolOperation) -> int:
        return 4 * tile.group_rows * line_values(tile, operation.problem)

    def launch(self, tile: WindowPoolTile, operation: PoolOperation) -> Launch:
        problem = operation.problem
        rows = ceil_div(problem.out_height, tile.tile_rows)
        planes = problem.out_channels * problem.batch
        return Launch(
            global_size=(tile.group_n, rows * tile.group_rows, planes), local_size=(tile.group_n, tile.group_rows, 1)
        )

    def variables(self, tile: WindowPoolTile, operation: PoolOperation) -> dict[str, Any]:
        problem, window = operation.problem, operation.problem.window
        return {
            "function": self.name,
            "inside": problem.all_inside,
            "line": line_values(tile, problem),
            "row_places": tuple(range(0, window.extent_y, window.dilation_y)),
            "column_places": tuple(range(0, window.extent_x, window.dilation_x)),
            **{name: getattr(window, name) for name in ("stride_y", "stride_x", "dilation_y", "top", "left")},
            **{name: getattr(problem, name) for name in ("channels", "depth_channels", "is_average", "counts_border")},
        }

    def safe_tile(self, operation: PoolOperation) -> WindowPoolTile:
        return WindowPoolTile(vector_width=1)

    def arguments(self, tile: WindowPoolTile, operation: PoolOperation, packed: PackedArrays) -> Arguments:
        problem = operation.problem
        sizes = {name: getattr(problem, name) for name in ("in_height", "in_width", "out_height", "out_width", "batch")}
        return {**sizes, **places(x=operation.input, y=operation.output)}


class MaxPoolKernel(WindowPoolKernel):
    """Maximum of windows, or of channels."""

    name = "max_pool"
    computes = MaxPoolOperation

    def reference(self, operation: PoolOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        return max_pool_reference(inputs[0], operation.problem)

    def sample_operations(self) -> tuple[PoolOperation, ...]:
        # batch, channels, height, width, size, stride, padding in total
        shapes = ((1, 3, 13, 31, 2, 2, 1), (2, 5, 8, 8, 2, 2, 0), (1, 7, 13, 13, 2, 1, 1), (3, 3, 7, 33, 3, 2, 2),
                  (1, 1, 1, 1, 2, 2, 1), (1, 2, 17, 31, 3, 3, 0), (2, 2, 9, 11, 5, 1, 4))  # fmt: skip
        squares = tuple(
            pool_operation(
                MaxPoolOperation,
                PoolProblem.square(
                    batch=n, channels=c, in_height=h, in_width=w, size=size, stride=stride, padding=padding
                ),
                padding=index % 2,
            )
            for index, (n, c, h, w, size, stride, padding) in enumerate(shapes)
        )
        large = Window(size_y=7, size_x=5, stride_x=2, dilation_y=2, top=6, left=2, bottom=5, right=3)
        problems = (
            PoolProblem(batch=2, channels=3, in_height=9, in_width=21, window=_UNEVEN),
            PoolProblem(batch=2, channels=3, in_height=9, in_width=37, window=large),
            PoolProblem.square(batch=1, channels=2, in_height=19, in_width=19, size=13, stride=1, padding=12),
            PoolProblem(batch=2, channels=7, in_height=5, in_width=9, window=Window.square(1), depth_channels=3),
        )
        return (*squares, *(pool_operation(MaxPoolOperation, problem, padding=1) for problem in problems))


class WindowAverageKernel(WindowPoolKernel):
    """Mean of windows."""

    name = "window_average"
    computes = WindowAverageOperation

    def reference(self, operation: PoolOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        return window_average_reference(inputs[0], operation.problem)

    def error_terms(self, operation: PoolOperation) -> int:
        return operation.problem.window.places

    def sample_operations(self) -> tuple[PoolOperation, ...]:
        windows = (
            (Window.square(2, stride=2), False),
            (Window.square(3, stride=1, padding=1), False),
            (Window.square(3, stride=2, padding=1), True),
            (_UNEVEN, False),
            (_UNEVEN, True),
            (Window.square(5, stride=1, padding=2), False),
            (Window.square(5, stride=2, padding=2), True),
        )
        return tuple(
            pool_operation(
                WindowAverageOperation,
                PoolProblem(
                    batch=2, channels=3, in_height=9, in_width=21, window=window, is_average=True, counts_border=counts
                ),
                padding=index % 2,
            )
            for index, (window, counts) in enumerate(windows)
        )


class AveragePoolKernel(PoolKernel[AveragePoolTile]):
    """See `templates/average_pool.cl.mako`; the problem's window is the whole plane."""

    name = "average_pool"
    template = "average_pool"
    layer_kind = AvgPool
    computes = AveragePoolOperation
    tile_type = AveragePoolTile
    constraints = ()
    cpu_tiles = (AveragePoolTile(group_n=1),)
    gpu_tiles = (AveragePoolTile(group_n=64), AveragePoolTile(group_n=128))

    def local_mem_bytes(self, tile: AveragePoolTile, operation: PoolOperation) -> int:
        return 4 * tile.group_n if tile.group_n > 1 else 0

    def launch(self, tile: AveragePoolTile, operation: PoolOperation) -> Launch:
        planes = operation.problem.channels * operation.problem.batch
        return Launch(global_size=(planes * tile.group_n,), local_size=(tile.group_n,))

    def safe_tile(self, operation: PoolOperation) -> AveragePoolTile:
        return AveragePoolTile(group_n=1)

    def arguments(self, tile: AveragePoolTile, operation: PoolOperation, packed: PackedArrays) -> Arguments:
        sizes = {name: getattr(operation.problem, name) for name in ("batch", "in_height", "in_width")}
        return {**sizes, **places(x=operation.input, y=operation.output)}

    def reference(self, operation: PoolOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        return average_pool_reference(inputs[0])

    def error_terms(self, operation: PoolOperation) -> int:
        return operation.problem.in_height * operation.problem.in_width

    def sample_operations(self) -> tuple[PoolOperation, ...]:
        shapes = ((1, 3, 7, 7), (2, 65, 1, 3), (3, 31, 5, 4))
        operations = []
        for n, c, h, w in shapes:
            out = contiguous_layout(batch=n, shape=Shape(channels=c, height=1, width=1))
            shape_in = Shape(channels=c, height=h, width=w)
            operations.append(
                AveragePoolOperation(
                    problem=PoolProblem.average(batch=n, shape=shape_in),
                    input=padded_layout(batch=n, shape=shape_in, pitch=w + 1, padding=1),
                    output=out,
                )
            )
        return tuple(operations)


MAX_POOL = MaxPoolKernel()
WINDOW_AVERAGE = WindowAverageKernel()
AVERAGE_POOL = AveragePoolKernel()
