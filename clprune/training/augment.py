"""Random shifts and mirror images for data that stays the same in every epoch."""

from __future__ import annotations

import torch
from torch import Tensor


def augment(images: Tensor, *, shift_pixels: int, flip: bool) -> Tensor:
    """Shift each of `images` `[n, channels, height, width]` by up to `shift_pixels` and mirror half of them.

    What a shift uncovers is filled with the nearest pixels. Draws from torch's current random state.
    """
    if shift_pixels:
        images = _shift(images, shift_pixels)
    if flip:
        mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images


def _shift(images: Tensor, pixels: int) -> Tensor:
    count, channels, height, width = images.shape
    down, right = torch.randint(-pixels, pixels + 1, (2, count))
    rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
