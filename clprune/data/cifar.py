"""CIFAR from the published python batches, read by torchvision; never a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clprune.data.folder import choose
from clprune.data.resize import resize_bilinear
from clprune.data.source import Request
from clprune.dataset import DataSet
from clprune.errors import DataError


def load_cifar(request: Request, *, name: str, loader_name: str) -> DataSet:
    """The data set that torchvision's loader of that name reads.

    The request's path is the batches' folder or the one that holds it. Raises DataError when they are missing or
    damaged, MissingDependencyError without torchvision.
    """
    from clprune.training.vision import import_torchvision

    loader = getattr(import_torchvision().datasets, loader_name)
    folder = Path(request.path)
    root = folder.parent if folder.name == loader.base_folder else folder
    try:
        loaded = loader(root=str(root), train=request.split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise DataError(f"expected {loader.base_folder}/ with the published batches: {error}", path=folder) from error
    chosen = choose(len(loaded.data), count=request.count, seed=request.seed)
    pixels = np.ascontiguousarray(loaded.data[chosen].transpose(0, 3, 1, 2))
    return DataSet(
        name=name,
        images=resize_bilinear(pixels, height=request.height, width=request.width),
        labels=np.asarray(loaded.targets, np.int64)[chosen],
        class_names=tuple(loaded.classes),
    )
