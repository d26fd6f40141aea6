"""Images that need no file: one smooth random pattern per class under heavy noise, for timing and smoke tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.data.resize import resize_bilinear

CLASSES = 10
PATTERN_SEED = 10
_PATTERN_SIDE = 4
_NOISE_SHARE = 0.5


def draw_synthetic(
    *, count: int, height: int, width: int, seed: int, stream: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw uint8 `[count, 3, height, width]` and labels int64 `[count]` in 0..9; labels go round in turn.

    The noise follows from `seed` and `stream`; the classes' patterns are always the same.
    """
    patterns = np.random.Generator(np.random.PCG64(PATTERN_SEED)).random((CLASSES, 3, _PATTERN_SIDE, _PATTERN_SIDE))
    enlarged = resize_bilinear((patterns * 255).astype(np.uint8), height=height, width=width).astype(np.float32)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = np.empty((count, 3, height, width), np.uint8)
    for index, label in enumerate(labels):
        noise = random.random((3, height, width), dtype=np.float32) * np.float32(255)
        images[index] = enlarged[label] * np.float32(1 - _NOISE_SHARE) + noise * np.float32(_NOISE_SHARE)
    return images, labels
