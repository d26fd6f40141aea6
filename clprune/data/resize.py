"""Bilinear resizing of whole arrays of small images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resize_bilinear(images: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 `[n, channels, h, w]` to `[n, channels, height, width]`, pixel centres aligned, rounded."""
    resized = images
    for axis, size in ((2, height), (3, width)):
        resized = _resize_axis(resized, axis=axis, size=size)
    return resized


def _resize_axis(images: NDArray[np.uint8], *, axis: int, size: int) -> NDArray[np.uint8]:
    length = images.shape[axis]
    if length == size:
        return images
    position = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    first = np.minimum(position.astype(np.int64), max(length - 2, 0))
    share = (position - first).astype(np.float32)
    shape = [1] * images.ndim
    shape[axis] = size
    near = np.take(images, first, axis=axis).astype(np.float32)
    far = np.take(images, np.minimum(first + 1, length - 1), axis=axis).astype(np.float32)
    resized: NDArray[np.uint8] = (near + (far - near) * share.reshape(shape) + np.float32(0.5)).astype(np.uint8)
    return resized
