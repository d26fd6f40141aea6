"""Shapes and problems: what is computed, free of how. No imports of ours.

A *problem* is a frozen description of one layer's work. It is the key under which tuning results are kept, so it
holds only what changes the work: fused activations are not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass


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
class ConvProblem:
    """A 2-D convolution with square filters: `[batch, in_channels, in_height, in_width]` to
    `[batch, out_channels, out_height, out_width]`.

    `padding` is the zero border on each side in pixels; `groups` splits channels as in darknet and PyTorch.
    """

    batch: int
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def out_height(self) -> int:
        return (self.in_height + 2 * self.padding - self.size) // self.stride + 1

    @property
    def out_width(self) -> int:
        return (self.in_width + 2 * self.padding - self.size) // self.stride + 1

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
        return self.group_in_channels * self.size * self.size

    @property
    def flops(self) -> int:
        """Multiplies and adds of the dense layer (2 per multiply-accumulate), bias not counted."""
        return 2 * self.batch * self.out_channels * self.columns * self.out_height * self.out_width

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        return (
            f"n{self.batch} c{self.in_channels} h{self.in_height} w{self.in_width} m{self.out_channels} "
            f"size{self.size} stride{self.stride} padding{self.padding} groups{self.groups}"
        )


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
    def flops(self) -> int:
        """Multiplies and adds of the dense layer, bias not counted."""
        return 2 * self.batch * self.inputs * self.outputs

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        return f"n{self.batch} k{self.inputs} m{self.outputs}"


@dataclass(frozen=True, kw_only=True)
class PoolProblem:
    """Square windows over planes; `padding` is darknet's: in total, `padding // 2` of it before the first pixel."""

    batch: int
    channels: int
    in_height: int
    in_width: int
    size: int
    stride: int
    padding: int = 0
    is_average: bool = False

    @classmethod
    def average(cls, *, batch: int, shape: Shape) -> PoolProblem:
        """Global average pooling: one value per plane."""
        return cls(
            batch=batch,
            channels=shape.channels,
            in_height=shape.height,
            in_width=shape.width,
            size=max(shape.height, shape.width),
            stride=1,
            is_average=True,
        )

    @property
    def out_height(self) -> int:
        return 1 if self.is_average else (self.in_height + self.padding - self.size) // self.stride + 1

    @property
    def out_width(self) -> int:
        return 1 if self.is_average else (self.in_width + self.padding - self.size) // self.stride + 1

    @property
    def all_inside(self) -> bool:
        """No window reaches over the border of the image."""
        before = self.padding // 2
        last_row = (self.out_height - 1) * self.stride - before + self.size
        last_column = (self.out_width - 1) * self.stride - before + self.size
        return before == 0 and last_row <= self.in_height and last_column <= self.in_width

    @property
    def flops(self) -> int:
        """Comparisons or additions."""
        if self.is_average:
            return self.batch * self.channels * self.in_height * self.in_width
        return self.batch * self.channels * self.out_height * self.out_width * self.size * self.size

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this problem are kept."""
        kind = "average" if self.is_average else f"size{self.size} stride{self.stride} padding{self.padding}"
        return f"n{self.batch} c{self.channels} h{self.in_height} w{self.in_width} {kind}"


def problem_text(key: str) -> str:
    """A problem's key without the batch, which is the same for all, and without a stride or groups of 1."""
    return " ".join(word for word in key.split()[1:] if word not in ("stride1", "groups1"))


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up."""
    return -(-dividend // divisor)


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return ceil_div(value, multiple) * multiple
