"""`stripes`: grey stripes in one of four directions under noise. The label is the direction."""

from __future__ import annotations

import numpy as np

from clprune.data import DataSet, DataSource
from clprune.data.source import TEST_STREAM, Request

NAMES = ("horizontal", "rising", "vertical", "falling")
COUNT = 256


def load(request: Request) -> DataSet:
    """Images uint8 `[N, 3, height, width]`, labels int64 `[N]` and the names of the classes."""
    count = request.count or COUNT
    stream = 0 if request.split == "train" else TEST_STREAM  # test images stay the same whatever the seed
    random = np.random.default_rng([request.seed if request.split == "train" else 0, stream])
    labels = np.arange(count, dtype=np.int64) % len(NAMES)
    rows, columns = np.mgrid[: request.height, : request.width]
    angles = labels * np.pi / len(NAMES)
    along = np.cos(angles)[:, None, None] * rows + np.sin(angles)[:, None, None] * columns
    waves = np.sin(along + random.uniform(0, 2 * np.pi, (count, 1, 1))) + random.normal(0, 0.5, along.shape)
    grey = np.clip(127 + 60 * waves, 0, 255).astype(np.uint8)
    return DataSet(name="stripes", images=np.repeat(grey[:, None], 3, axis=1), labels=labels, class_names=NAMES)


DATA_SET = DataSource(load=load)
