"""The only import of torchvision: its loaders for CIFAR batches and ImageNet folders, from a path, never a download."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clprune.data.dataset import DataSet
from clprune.data.folder import ImageFiles, choose
from clprune.data.resize import resize_bilinear
from clprune.errors import DataError, MissingDependencyError
from clprune.image import Resize

_CIFAR_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_MISSING_OPERATOR = "operator torchvision::nms does not exist"


@lru_cache(maxsize=1)
def import_torchvision_datasets() -> Any:
    """The module `torchvision.datasets`. Raises MissingDependencyError."""
    try:
        try:
            return importlib.import_module("torchvision.datasets")
        except RuntimeError as error:
            if _MISSING_OPERATOR not in str(error):
                raise
            # torchvision built for another kind of torch (PyPI's beside a CPU build) has no compiled operators, but
            # registers shape rules for them: declaring the operators is all that its loaders need
            _declare_operators()
            return importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise MissingDependencyError(
            f"this data set is read by torchvision, which cannot be imported ({error}); "
            "install it with: pip install clprune[train]"
        ) from error


@lru_cache(maxsize=1)
def _declare_operators() -> Any:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has no types here
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # the cache keeps it: its declarations end with the object


def load_cifar(
    name: str, path: str | Path, *, split: str, height: int, width: int, seed: int = 0, count: int | None = None
) -> DataSet:
    """CIFAR-10 or CIFAR-100 (`name` "cifar10" or "cifar100") from the published python batches.

    `path` is the batches' folder or the one that holds it. Raises DataError when they are missing or damaged.
    """
    loader = getattr(import_torchvision_datasets(), _CIFAR_CLASSES[name])
    folder = Path(path)
    root = folder.parent if folder.name == loader.base_folder else folder
    try:
        loaded = loader(root=str(root), train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise DataError(f"expected {loader.base_folder}/ with the published batches: {error}", path=folder) from error
    chosen = choose(len(loaded.data), count=count, seed=seed)
    pixels = np.ascontiguousarray(loaded.data[chosen].transpose(0, 3, 1, 2))
    return DataSet(
        name=name,
        images=resize_bilinear(pixels, height=height, width=width),
        labels=np.asarray(loaded.targets, np.int64)[chosen],
        class_names=tuple(loaded.classes),
    )


def load_imagenet(
    path: str | Path,
    *,
    split: str,
    height: int,
    width: int,
    seed: int = 0,
    count: int | None = None,
    resize: Resize = "letterbox",
) -> DataSet:
    """ImageNet as folders: `path/train/<wnid>/*` and `path/val/<wnid>/*`, classes in the order of their names.

    Images are read when they are asked for. Raises DataError when the folders are missing or empty.
    """
    folder = Path(path) / ("train" if split == "train" else "val")
    try:
        loaded = import_torchvision_datasets().ImageFolder(str(folder))
    except (RuntimeError, OSError) as error:
        raise DataError(f"expected one sub-folder of images per class: {error}", path=folder) from error
    chosen = choose(len(loaded.samples), count=count, seed=seed)
    paths = tuple(Path(loaded.samples[index][0]) for index in chosen)
    return DataSet(
        name="imagenet",
        images=ImageFiles(paths=paths, height=height, width=width, resize=resize),
        labels=np.asarray(loaded.targets, np.int64)[chosen],
        class_names=tuple(loaded.classes),
    )
