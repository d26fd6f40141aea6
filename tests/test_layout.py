"""Where values lie: strides by hand, and padding that is shared by neighbours but never by values."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.geometry import Shape
from clprune.layout import READ_MARGIN, Layout, contiguous_layout, padded_layout, view

SHAPE = Shape(channels=2, height=3, width=4)


def places(layout: Layout) -> np.ndarray:
    """Element of the buffer for each [image, channel, row, column]."""
    return view(np.arange(layout.elements), layout)


def test_contiguous_is_nchw() -> None:
    layout = contiguous_layout(batch=2, shape=SHAPE)
    assert places(layout).tolist() == np.arange(48).reshape(2, 2, 3, 4).tolist()
    assert layout.elements == 48 + READ_MARGIN
    assert layout.size_bytes == 4 * layout.elements


def test_padded_by_hand() -> None:
    """Pitch 5 = 4 + 1; 4 rows of pitch per image, one of them padding; both images inside a channel."""
    layout = padded_layout(batch=2, shape=SHAPE, pitch=5, padding=1)
    assert (layout.pitch, layout.image_stride, layout.channel_stride, layout.origin) == (5, 20, 40, 6)
    assert places(layout)[0, 0].tolist() == [[6, 7, 8, 9], [11, 12, 13, 14], [16, 17, 18, 19]]
    assert places(layout)[1, 0, 0, 0] == 26
    assert places(layout)[0, 1, 0, 0] == 46


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("extra", [0, 1, 5])
def test_padding_on_all_sides(batch: int, padding: int, extra: int) -> None:
    """What lies up to `padding` rows and columns outside an image belongs to none, and is in the buffer."""
    layout = padded_layout(batch=batch, shape=SHAPE, pitch=4 + padding + extra, padding=padding)
    own = places(layout)
    values = set(own.reshape(-1).tolist())
    assert len(values) == batch * SHAPE.elements
    for first in own[:, :, 0, 0].reshape(-1):
        for row in range(-padding, 3 + padding):
            for column in range(-padding, 4 + padding):
                place = int(first) + row * layout.pitch + column
                assert 0 <= place < layout.elements - READ_MARGIN
                assert (place in values) == (0 <= row < 3 and 0 <= column < 4)


def test_pitch_too_small() -> None:
    with pytest.raises(ValueError, match="pitch 4 is smaller than width 4 \\+ padding 1"):
        padded_layout(batch=1, shape=SHAPE, pitch=4, padding=1)


def test_writing_to_the_view_writes_to_the_buffer() -> None:
    layout = padded_layout(batch=1, shape=SHAPE, pitch=6, padding=2)
    buffer = np.zeros(layout.elements, np.float32)
    view(buffer, layout)[:] = 1
    assert buffer.sum() == SHAPE.elements
    assert buffer[layout.origin] == 1
