"""`digits`: scikit-learn's handwritten digits, those that `digits-on-photos` composes its images of."""

from __future__ import annotations

import numpy as np

from clprune.data.digits_on_photos import split_originals
from clprune.data.folder import choose
from clprune.data.resize import resize_bilinear
from clprune.data.scikit import DIGIT_NAMES, load_digits
from clprune.data.source import DataSource, Request
from clprune.dataset import DataSet


def _load(request: Request) -> DataSet:
    digits, labels = load_digits()
    train, test = split_originals(len(digits))
    originals = train if request.split == "train" else test
    chosen = originals[choose(len(originals), count=request.count, seed=request.seed)]
    grey = (digits[chosen] * (255 / 16) + 0.5).astype(np.uint8)
    planes = np.repeat(grey[:, None], 3, axis=1)
    images = resize_bilinear(planes, height=request.height, width=request.width)
    return DataSet(name="digits", images=images, labels=labels[chosen], class_names=DIGIT_NAMES)


DATA_SET = DataSource(load=_load)
