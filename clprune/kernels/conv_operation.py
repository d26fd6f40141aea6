"""A convolution of a network, whichever kernel computes it: its problem, layouts, what is fused, and the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clprune.geometry import ConvProblem, PoolProblem, Shape, ceil_div
from clprune.kernels.arguments import Answer
from clprune.kernels.signature import places
from clprune.kernels.storage import FLOAT32, storage_key
from clprune.kernels.tile import Constraint, Tile
from clprune.kernels.windows import sliding_windows
from clprune.layout import Layout, padded_layout


class PositionTile(Tile, Protocol):
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
    `added`: the shortcut that follows is fused, and this is its activation: another tensor that lies like the output is
    added to the results, `other_shift` elements behind it in its buffer.
    """

    problem: ConvProblem
    input: Layout
    output: Layout
    activation: str = "linear"
    pooled: bool = False
    added: str = ""
    other_shift: int = 0
    storage: str = FLOAT32

    @property
    def key(self) -> str:
        fused = " pooled" * self.pooled + " summed" * bool(self.added)
        return self.problem.key + fused + storage_key(self.storage)

    @property
    def flops(self) -> int:
        return self.problem.flops

    @property
    def can_be_flat(self) -> bool:
        """Output positions and input positions differ by a constant: vectors may run over row ends."""
        same_images = self.problem.batch == 1 or self.input.image_stride == self.output.image_stride
        is_aligned = self.problem.window.is_dense and self.input.pitch == self.output.pitch and same_images
        return is_aligned and not self.pooled

    @property
    def row_step(self) -> int:
        """Rows of convolution results per row of the output."""
        return 2 if self.pooled else 1

    @property
    def positions(self) -> int:
        """Length of the flat run from the first to behind the last output."""
        rows = (self.problem.batch - 1) * self.output.image_stride + (self.problem.out_height - 1) * self.output.pitch
        return rows + self.problem.out_width

    @property
    def sum_arguments(self) -> dict[str, int]:
        """What templates want to know of the tensor that is added."""
        return {"other_shift": self.other_shift} if self.added else {}

    def slots(self, tile: PositionTile) -> int:
        """Vectors of positions that cover the output."""
        if tile.mapping == "flat":
            return ceil_div(self.positions, tile.vector_width)
        if tile.mapping == "packed":
            return self.problem.batch * self.problem.out_height * self.problem.out_width // tile.vector_width
        rows = self.problem.batch * self.problem.out_height // self.row_step
        return rows * ceil_div(self.problem.out_width, tile.vector_width)

    def row_distances(self, tile: PositionTile) -> tuple[tuple[int, int], ...]:
        """How far the input and the output of each row of a vector lie behind those of its first, mapping "packed"."""
        image_rows = self.problem.out_height
        places = [divmod(row, image_rows) for row in range(tile.vector_width // self.problem.out_width)]
        return tuple(
            (
                image * self.input.image_stride + row * self.input.pitch,
                image * self.output.image_stride + row // self.row_step * self.output.pitch,
            )
            for image, row in places
        )

    def position_groups(self, tile: PositionTile) -> int:
        """Work-groups along positions."""
        return ceil_div(self.slots(tile), tile.vectors * tile.group_n)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the weights."""
        return (self.problem.out_channels, self.problem.columns)

    def position_arguments(self, tile: PositionTile) -> dict[str, Any]:
        """`position_parameters` of templates/convolution.mako, and `valid`."""
        problem = self.problem
        return {
            "valid": self.valid_positions(tile),
            "slot_count": self.slots(tile),
            "positions": self.positions,
            "slots_per_row": ceil_div(problem.out_width, tile.vector_width),
            "out_width": problem.out_width,
            "rows_per_image": problem.out_height // (1 if tile.mapping == "packed" else self.row_step),
            **places(x=self.input, y=self.output),
        }

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
        window, layout = self.problem.window, self.input
        offsets = (
            np.arange(self.problem.group_in_channels)[:, None, None] * layout.channel_stride
            + (np.arange(window.size_y) * window.dilation_y - window.top)[:, None] * layout.pitch
            + (np.arange(window.size_x) * window.dilation_x - window.left)
        )
        return offsets.reshape(-1).astype(np.int32)

    @property
    def list_options(self) -> dict[str, Any]:
        """What packing lists of weights wants to know: where the inputs of columns and of groups of channels lie."""
        group_offset = self.problem.group_in_channels * self.input.channel_stride
        return {"column_offsets": self.column_offsets, "groups": self.problem.groups, "group_offset": group_offset}


#: How vectors of output positions may lie, with fused pooling and without.
POSITION_CONSTRAINTS: tuple[Constraint[Any, ConvOperation], ...] = (
    Constraint(
        reason="mapping flat needs stride 1 and one pitch for input and output",
        holds=lambda t, o: t.mapping != "flat" or o.can_be_flat,
    ),
    Constraint(
        reason="mapping packed needs stride 1 and vectors of whole output rows of 2, 4 or 8",
        holds=lambda t, o: t.mapping != "packed" or can_pack_rows(o.problem, t.vector_width),
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
        reason="a vector is more than twice as long as an output row",
        holds=lambda t, o: t.vector_width <= 4 or t.mapping != "rows" or t.vector_width < 2 * o.problem.out_width,
    ),
)


#: What work-groups of `group_m` row blocks of `tile_m` rows leave to do, and their order.
MANY_ROWS: Constraint[Any, Any] = Constraint(
    reason="the tile has more rows than the layer has output channels per group",
    holds=lambda t, o: t.tile_m * t.group_m < 2 * o.problem.group_out_channels or t.tile_m * t.group_m == 1,
)
LONG_SWEEP: Constraint[Any, Any] = Constraint(
    reason="a sweep is longer than the layer has row blocks",
    holds=lambda t, o: t.sweep <= 1 or t.sweep * t.group_m * t.tile_m < o.problem.out_channels,
)

#: How tiles of rows and columns of positions may lie.
AREA_CONSTRAINTS: tuple[Constraint[Any, ConvOperation], ...] = (
    Constraint(
        reason="the tile has more positions along one side than the output",
        holds=lambda t, o: t.tile_rows <= o.problem.out_height and t.tile_columns <= o.problem.out_width,
    ),
    Constraint(
        reason="fused pooling needs tiles of whole windows",
        holds=lambda t, o: not o.pooled or (t.tile_rows % 2 == 0 and t.tile_columns % 2 == 0 and can_pool(o.problem)),
    ),
)


def conv_operation(
    problem: ConvProblem,
    *,
    activation: str = "linear",
    next_padding: int | None = None,
    pooled: bool = False,
    added: str = "",
    storage: str = FLOAT32,
) -> ConvOperation:
    """The operation with the layouts that a network would give it: one pitch for both sides where stride is 1.

    `next_padding`: zero border that the output gets for its consumer; by default that of the problem itself.
    """
    padding_in = max(problem.window.padding)
    padding_out = padding_in if next_padding is None else next_padding
    shape_in = Shape(channels=problem.in_channels, height=problem.in_height, width=problem.in_width)
    step = 2 if pooled else 1
    shape_out = Shape(channels=problem.out_channels, height=problem.out_height // step, width=problem.out_width // step)
    pitch_in, pitch_out = problem.in_width + padding_in, shape_out.width + padding_out
    if problem.window.is_dense and not pooled:
        pitch_in = pitch_out = max(pitch_in, pitch_out)
        padding_in = padding_out = max(padding_in, padding_out)
        pitch_in = pitch_out = max(pitch_in, problem.in_width + padding_in, problem.out_width + padding_out)
    return ConvOperation(
        problem=problem,
        input=padded_layout(batch=problem.batch, shape=shape_in, pitch=pitch_in, padding=padding_in),
        output=padded_layout(batch=problem.batch, shape=shape_out, pitch=pitch_out, padding=padding_out),
        activation=activation,
        pooled=pooled,
        added=added,
        storage=storage,
    )


def conv_problems(names: Sequence[str], shapes: Iterable[Sequence[int]], **more: int) -> list[ConvProblem]:
    """One problem for each of `shapes`, whose numbers are the fields called `names`; `more` fields are those of all."""
    return [ConvProblem.square(**dict(zip(names, shape, strict=True)), **more) for shape in shapes]


def can_pool(problem: ConvProblem) -> bool:
    """Whether 2x2 windows of stride 2 tile the output without remainder."""
    return problem.out_height % 2 == 0 and problem.out_width % 2 == 0


def can_pack_rows(problem: ConvProblem, vector_width: int) -> bool:
    """Vectors of output positions can be filled with whole short rows, of one image or all rows of several."""
    if not problem.window.is_dense or problem.out_width not in (2, 4, 8) or vector_width not in (8, 16):
        return False
    rows, image_rows = vector_width // problem.out_width, problem.out_height
    is_whole = image_rows % rows == 0 or rows % image_rows == 0
    return rows > 1 and is_whole and problem.batch * image_rows % rows == 0


def pool_problem(problem: ConvProblem) -> PoolProblem:
    """The 2x2 max pooling of stride 2 behind `problem`."""
    return PoolProblem.square(
        batch=problem.batch,
        channels=problem.out_channels,
        in_height=problem.out_height,
        in_width=problem.out_width,
        size=2,
        stride=2,
    )


def conv_reference(
    x: npt.NDArray[Any], matrix: npt.NDArray[Any], bias: npt.NDArray[Any], problem: ConvProblem
) -> Answer:
    """float64 answer `[N, out_channels, out_height, out_width]` before the activation.

    x `[N, C, H, W]`, matrix `[out_channels, columns]` (K runs over channel, filter row, filter column), bias
    `[out_channels]`.
    """
    p = problem
    windows = sliding_windows(x.astype(np.float64), p.window, border=0.0)
    result = np.empty((p.batch, p.out_channels, p.out_height * p.out_width))
    for image in range(p.batch):
        for group in range(p.groups):
            channels = slice(group * p.group_in_channels, (group + 1) * p.group_in_channels)
            rows = slice(group * p.group_out_channels, (group + 1) * p.group_out_channels)
            columns = windows[image, channels].transpose(0, 3, 4, 1, 2).reshape(p.columns, -1)
            result[image, rows] = matrix[rows].astype(np.float64) @ columns
    result += bias.astype(np.float64)[:, None]
    return result.reshape(p.batch, p.out_channels, p.out_height, p.out_width)
