"""Where the values of a tensor lie in its device buffer. No imports of ours but geometry.

Element (image n, channel c, row y, column x) of a tensor lies at
`origin + c * channel_stride + n * image_stride + y * pitch + x` (in float32 elements).

Convolutions read zero-padded planes. Neighbours share their padding: the gap behind one row is also the left border of
the next, and the rows under one image are also the top border of the next, so a 3x3 layer of width 56 has a pitch of
57, not 58. Images of a batch lie inside a channel (CNHW): to a convolution a batch is one taller image.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.geometry import Shape

#: Elements that may be read (never written) behind the last value: the widest tile of any kernel fits in.
READ_MARGIN = 4096


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Strides of one tensor `[batch, shape]` in a buffer of `elements` float32 values."""

    batch: int
    shape: Shape
    pitch: int
    image_stride: int
    channel_stride: int
    origin: int
    elements: int

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """[N, C, H, W] of the tensor."""
        return (self.batch, *self.shape.dimensions)

    def of_image(self, image: int) -> Layout:
        """Where one image of the batch lies in the same buffer."""
        return dataclasses.replace(self, batch=1, origin=self.origin + image * self.image_stride)

    def lies_like(self, other: Layout) -> bool:
        """Whether equal elements lie equally far from the first one."""
        return dataclasses.replace(other, origin=self.origin, elements=self.elements) == self

    def of_channels(self, first: int, count: int) -> Layout:
        """Where `count` channels from `first` on lie in the same buffer."""
        shape = dataclasses.replace(self.shape, channels=count)
        return dataclasses.replace(self, shape=shape, origin=self.origin + first * self.channel_stride)

    @property
    def has_padding(self) -> bool:
        """Whether zeros lie between or around the values."""
        return self.elements - READ_MARGIN != self.batch * self.shape.elements

    @property
    def padding_rows(self) -> int:
        """Zero rows under each image."""
        plane = self.image_stride if self.channel_stride == self.batch * self.image_stride else self.channel_stride
        return plane // self.pitch - self.shape.height

    @property
    def size_bytes(self) -> int:
        """Bytes of the buffer, margins included."""
        return 4 * self.elements


def padded_layout(*, batch: int, shape: Shape, pitch: int, padding: int) -> Layout:
    """CNHW planes with `padding` zero rows between images and at least `padding` zero columns between rows.

    `pitch` is at least `shape.width + padding`. Raises ValueError otherwise.
    """
    if pitch < shape.width + padding:
        raise ValueError(f"pitch {pitch} is smaller than width {shape.width} + padding {padding}")
    image_stride = (shape.height + padding) * pitch
    channel_stride = batch * image_stride
    origin = padding * pitch + padding
    return Layout(
        batch=batch,
        shape=shape,
        pitch=pitch,
        image_stride=image_stride,
        channel_stride=channel_stride,
        origin=origin,
        elements=origin + shape.channels * channel_stride + origin + READ_MARGIN,
    )


def contiguous_layout(*, batch: int, shape: Shape) -> Layout:
    """Plain NCHW without padding: what the host exchanges and what fully connected layers read."""
    plane = shape.height * shape.width
    return Layout(
        batch=batch,
        shape=shape,
        pitch=shape.width,
        image_stride=shape.elements,
        channel_stride=plane,
        origin=0,
        elements=batch * shape.elements + READ_MARGIN,
    )


def view(buffer: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    """The `[batch, channels, height, width]` window of a flat buffer; writing to it writes there."""
    item = buffer.itemsize
    return np.lib.stride_tricks.as_strided(
        buffer[layout.origin :],
        shape=layout.dimensions,
        strides=tuple(item * s for s in (layout.image_stride, layout.channel_stride, layout.pitch, 1)),
    )
