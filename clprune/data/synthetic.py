"""`synthetic`: one smooth random pattern per class under heavy noise, no file needed; for timing and smoke tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.data.resize import resize_bilinear
from clprune.data.source import TEST_STREAM, DataSource, Request, check_drawn
from clprune.dataset import DataSet

CLASSES = 10
#: Images where no count is given.
COUNT = 256
PATTERN_SEED = 10
_PATTERN_SIDE = 4
_NOISE_SHARE = 0.5


def draw_synthetic(
    *, count: int, height: int, width: int, seed: int, stream: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw uint8 `[count, 3, height, width]` and labels int64 `[count]` in 0..9; labels go round in turn.

    The noise follows from `seed` and `stream`; the classes' patterns are always the same.
    """
    check_drawn(count=count, height=height, width=width)
    patterns = np.random.Generator(np.random.PCG64(PATTERN_SEED)).random((CLASSES, 3, _PATTERN_SIDE, _PATTERN_SIDE))
    enlarged = resize_bilinear((patterns * 255).astype(np.uint8), height=height, width=width).astype(np.float32)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = np.empty((count, 3, height, width), np.uint8)
    for index, label in enumerate(labels):
        noise = random.random((3, height, width), dtype=np.float32) * np.float32(255)
        images[index] = enlarged[label] * np.float32(1 - _NOISE_SHARE) + noise * np.float32(_NOISE_SHARE)
    return images, labels


def _load(request: Request) -> DataSet:
    stream = 0 if request.split == "train" else TEST_STREAM
    sides = {"height": request.height, "width": request.width}
    images, labels = draw_synthetic(count=request.count or COUNT, **sides, seed=request.seed, stream=stream)
    names = tuple(f"class{index}" for index in range(CLASSES))
    return DataSet(name="synthetic", images=images, labels=labels, class_names=names)


DATA_SET = DataSource(load=_load)
