"""Shapes and problems: what is computed, free of how. No imports of ours.

A *problem* is a frozen description of one layer's work. It is the key under which tuning results are kept, so it
holds only what changes the work: fused activations are not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Activations of one image: `channels` planes of `height` x `width` values, darknet's CHW order."""

    channels: int
    height: int
    width: int

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """[C, H, W]."""
        return (self.channels, self.height, self.width)

    @property
    def elements(self) -> int:
        """Values in one image."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Windows that slide over planes: `size_y` x `size_x` places that lie `dilation_y`, `dilation_x` pixels apart,
    moved by `stride_y`, `stride_x`; `top`, `left`, `bottom` and `right` are pixels of border around the image.
    """

    size_y: int
    size_x: int
    stride_y: int = 1
    stride_x: int = 1
    dilation_y: int = 1
    dilation_x: int = 1
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    @classmethod
    def square(cls, size: int, *, stride: int = 1, padding: int = 0) -> Window:
        """One size and stride, and `padding` on each side."""
        return cls(
            size_y=size,
            size_x=size,
            stride_y=stride,
            stride_x=stride,
            **dict.fromkeys(("top", "left", "bottom", "right"), padding),
        )

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Border at the top, left, bottom and right."""
        return (self.top, self.left, self.bottom, self.right)

    @property
    def inner(self) -> Window:
        """The same over planes that have the border already."""
        return replace(self, top=0, left=0, bottom=0, right=0)

    @property
    def places(self) -> int:
        """Values under one window."""
        return self.size_y * self.size_x

    @property
    def is_plain(self) -> bool:
        """Whether `square` makes it."""
        return self == Window.square(self.size_y, stride=self.stride_y, padding=self.top)

    @property
    def is_dense(self) -> bool:
        """Whether neighbouring windows lie one pixel apart."""
        return self.stride_y == self.stride_x == 1

    @property
    def extent_y(self) -> int:
        """Rows from the first to the last of a window."""
        return (self.size_y - 1) * self.dilation_y + 1

    @property
    def extent_x(self) -> int:
        """Columns from the first to the last of a window."""
        return (self.size_x - 1) * self.dilation_x + 1

    def rows(self, height: int) -> int:
        """Windows below each other in an image of `height` pixels; 0 or less: none fits."""
        return (height + self.top + self.bottom - self.extent_y) // self.stride_y + 1

    def columns(self, width: int) -> int:
        """Windows beside each other in an image of `width` pixels; 0 or less: none fits."""
        return (width + self.left + self.right - self.extent_x) // self.stride_x + 1

    def words(self, padding: int | None) -> str:
        """As part of a problem's key; `padding` is the number that says all of the border, None where there is none."""
        text = f"size{_pair(self.size_y, self.size_x)} stride{_pair(self.stride_y, self.stride_x)} "
        text += f"padding{','.join(map(str, self.padding)) if padding is None else padding}"
        dilation = _pair(self.dilation_y, self.dilation_x)
        return text if dilation == "1" else f"{text} dilation{dilation}"


def _pair(y: int, x: int) -> str:
    return str(y) if y == x else f"{y}x{x}"


@dataclass(frozen=True, kw_only=True)
class ConvProblem:
    """A 2-D convolution: `[batch, in_channels, in_height, in_width]` to `[batch, out_channels, out_height, out_width]`.

    The border of `window` is zeros; `groups` splits channels as in darknet and PyTorch.
    """

    batch: int
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    window: Window
    groups: int = 1

    @classmethod
    def square(cls, *, size: int, stride: int = 1, padding: int = 0, **fields: Any) -> ConvProblem:
        """With a `Window.square`."""
        return cls(window=Window.square(size, stride=stride, padding=padding), **fields)

    @classmethod
    def of(cls, shape: Shape, **fields: Any) -> ConvProblem:
        """With images of `shape`."""
        return cls(in_channels=shape.channels, in_height=shape.height, in_width=shape.width, **fields)

    @property
    def out_height(self) -> int:
        return self.window.rows(self.in_height)

    @property
    def out_width(self) -> int:
        return self.window.columns(self.in_width)

    @property
    def group_out_channels(self) -> int:
        """Output channels of one group: rows M of the GEMM view."""
        return self.out_channels // self.groups

    @property
    def group_in_channels(self) -> int:
        return self.in_channels // self.groups

    @property
    def columns(self) -> int:
        """K of the GEMM view: weights per output channel."""
        return self.group_in_channels * self.window.places

    @property
    def flops(self) -> int:
        """Multiplies and adds of the dense layer (2 per multiply-accumulate), bias not counted."""
        return 2 * self.batch * self.out_channels * self.columns * self.out_height * self.out_width

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        sides = set(self.window.padding)
        window = self.window.words(sides.pop() if len(sides) == 1 else None)
        sizes = f"c{self.in_channels} h{self.in_height} w{self.in_width} m{self.out_channels}"
        return f"n{self.batch} {sizes} {window} groups{self.groups}"


@dataclass(frozen=True, kw_only=True)
class ConnectedProblem:
    """A fully connected layer: `[batch, inputs]` to `[batch, outputs]` by a weight matrix `[outputs, inputs]`."""

    batch: int
    inputs: int
    outputs: int

    @property
    def columns(self) -> int:
        """K of the GEMM view."""
        return self.inputs

    @property
    def group_out_channels(self) -> int:
        """Rows of the GEMM view, all of which read the same inputs."""
        return self.outputs

    @property
    def flops(self) -> int:
        """Multiplies and adds of the dense layer, bias not counted."""
        return 2 * self.batch * self.inputs * self.outputs

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        return f"n{self.batch} k{self.inputs} m{self.outputs}"


@dataclass(frozen=True, kw_only=True)
class PoolProblem:
    """The maximum or, where `is_average`, the mean of windows over planes. Pixels of the border never win; in a mean
    they are zeros where `counts_border`, and count for nothing elsewhere.

    `depth_channels`: where not 0, output channels of a maximum over every `depth_channels`-th channel, beside windows.
    """

    batch: int
    channels: int
    in_height: int
    in_width: int
    window: Window
    is_average: bool = False
    counts_border: bool = False
    depth_channels: int = 0

    @classmethod
    def square(cls, *, size: int, stride: int, padding: int = 0, **fields: Any) -> PoolProblem:
        """With the window that darknet makes: `padding` in total, `padding // 2` of it before the first pixel."""
        before, after = padding // 2, padding - padding // 2
        window = replace(Window.square(size, stride=stride), top=before, left=before, bottom=after, right=after)
        return cls(window=window, **fields)

    @classmethod
    def average(cls, *, batch: int, shape: Shape) -> PoolProblem:
        """Global average pooling: one value per plane."""
        return cls(
            batch=batch,
            channels=shape.channels,
            in_height=shape.height,
            in_width=shape.width,
            window=Window(size_y=shape.height, size_x=shape.width),
            is_average=True,
        )

    @property
    def out_channels(self) -> int:
        return self.depth_channels or self.channels

    @property
    def out_height(self) -> int:
        return self.window.rows(self.in_height)

    @property
    def out_width(self) -> int:
        return self.window.columns(self.in_width)

    @property
    def all_inside(self) -> bool:
        """No window reaches over the border of the image."""
        window = self.window
        last_row = (self.out_height - 1) * window.stride_y - window.top + window.extent_y
        last_column = (self.out_width - 1) * window.stride_x - window.left + window.extent_x
        is_within = last_row <= self.in_height and last_column <= self.in_width
        return window.top == window.left == 0 and is_within

    @property
    def is_global(self) -> bool:
        """Whether a window is the whole plane."""
        return self.is_average and self.window == Window(size_y=self.in_height, size_x=self.in_width)

    @property
    def flops(self) -> int:
        """Comparisons or additions."""
        return self.batch * self.channels * self.out_height * self.out_width * self.window.places

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        sizes = f"n{self.batch} c{self.channels} h{self.in_height} w{self.in_width}"
        if self.is_global:
            return f"{sizes} average"
        total = self.window.top + self.window.bottom
        is_darknets = self.window.padding == (total // 2, total // 2, total - total // 2, total - total // 2)
        kinds = f" mean{' border' * self.counts_border}" * self.is_average
        kinds += f" depth{self.depth_channels}" if self.depth_channels else ""
        return f"{sizes} {self.window.words(total if is_darknets else None)}{kinds}"


def problem_text(key: str) -> str:
    """A problem's key without the batch, which is the same for all, and without a stride or groups of 1."""
    return " ".join(word for word in key.split()[1:] if word not in ("stride1", "groups1"))


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up."""
    return -(-dividend // divisor)


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return ceil_div(value, multiple) * multiple
