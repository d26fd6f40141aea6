"""`imagenet:PATH`: folders `PATH/train/<wnid>/*` and `PATH/val/<wnid>/*`, classes in the order of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clprune.data.folder import ImageFiles, choose
from clprune.data.source import DataSource, Request
from clprune.dataset import DataSet
from clprune.errors import DataError


def _load(request: Request) -> DataSet:
    """Images are read when they are asked for. Raises DataError when the folders are missing or empty."""
    from clprune.training.vision import import_torchvision_datasets

    folder = Path(request.path) / ("train" if request.split == "train" else "val")
    try:
        loaded = import_torchvision_datasets().ImageFolder(str(folder))
    except (RuntimeError, OSError) as error:
        raise DataError(f"expected one sub-folder of images per class: {error}", path=folder) from error
    chosen = choose(len(loaded.samples), count=request.count, seed=request.seed)
    paths = tuple(Path(loaded.samples[index][0]) for index in chosen)
    return DataSet(
        name="imagenet",
        images=ImageFiles(paths=paths, height=request.height, width=request.width, resize=request.resize),
        labels=np.asarray(loaded.targets, np.int64)[chosen],
        class_names=tuple(loaded.classes),
    )


DATA_SET = DataSource(load=_load, needs_path=True)
