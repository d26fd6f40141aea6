"""Random shifts and mirror images for data that stays the same in every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Augmentation:
    """What was drawn for each of n images: shifts `down` and `right` in pixels, int64 `[n]`, and which are `mirrored`,
    bool `[n]`. None: none of them.
    """

    down: Tensor | None = None
    right: Tensor | None = None
    mirrored: Tensor | None = None

    def of(self, places: NDArray[np.int64]) -> Augmentation:
        """That of the images at `places`."""
        chosen = torch.from_numpy(places)
        return Augmentation(**{name: None if drawn is None else drawn[chosen] for name, drawn in vars(self).items()})

    def apply(self, images: Tensor) -> Tensor:
        """Change images `[n, channels, height, width]`; what a shift uncovers is filled with the nearest pixels."""
        if self.down is not None and self.right is not None:
            images = _shift(images, down=self.down, right=self.right)
        if self.mirrored is not None:
            images = torch.where(self.mirrored[:, None, None, None], images.flip(3), images)
        return images


def draw_augmentation(
    count: int, *, shift_pixels: int, flip: bool, generator: torch.Generator | None = None
) -> Augmentation:
    """For `count` images: shifts by up to `shift_pixels` either way, and, with `flip`, half of them mirrored.

    Draws from `generator`, or from torch's current random state.
    """
    down = right = mirrored = None
    if shift_pixels:
        down, right = torch.randint(-shift_pixels, shift_pixels + 1, (2, count), generator=generator)
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
    return Augmentation(down=down, right=right, mirrored=mirrored)


def _shift(images: Tensor, *, down: Tensor, right: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
