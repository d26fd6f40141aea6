"""From the name on the command line to a data set: `digits`, `digits-on-photos`, `cifar10:PATH` and so on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from clprune.data import digits_on_photos, scikit
from clprune.data.dataset import DataSet
from clprune.data.folder import choose, load_folder
from clprune.data.resize import resize_bilinear
from clprune.data.synthetic import CLASSES, draw_synthetic
from clprune.errors import UsageError
from clprune.image import Resize

Split = Literal["train", "test"]

#: Images of an epoch of digits-on-photos where no count is given.
TRAIN_COUNT = 40_000
#: Held-out images of digits-on-photos where no count is given.
TEST_COUNT = 4_000
SYNTHETIC_COUNT = 256

TEST_STREAM = 1 << 20  # epochs count their streams from 0, so that no epoch draws the test images' numbers
TEST_SEED = 0  # the test set is one set: it does not move with the seed of a training run


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a loader is asked for; `path` is empty where the data needs none."""

    path: str
    split: Split
    height: int
    width: int
    seed: int
    count: int | None
    resize: Resize


def list_data() -> tuple[str, ...]:
    """The specifications that `load_data` knows, with PATH where one is needed."""
    return tuple(f"{name}:PATH" if loader.needs_path else name for name, loader in _LOADERS.items())


def load_data(
    spec: str,
    *,
    split: Split,
    height: int,
    width: int,
    seed: int = 0,
    count: int | None = None,
    resize: Resize = "letterbox",
) -> DataSet:
    """Load the data set that `spec` names: one of `list_data()`.

    Images come as RGB of `height` x `width` pixels; `resize` says how image files are made to fit. `count` limits the
    images (composed sets draw that many). `seed` moves what is drawn at random for training; test images stay the
    same. Raises UsageError for an unknown specification, DataError for a missing or malformed path,
    MissingDependencyError where a package is needed.
    """
    name, _, path = spec.partition(":")
    loader = _LOADERS.get(name)
    if loader is None:
        raise UsageError(f"data {spec!r}: expected one of {', '.join(list_data())}")
    if split not in get_args(Split):
        raise UsageError(f"split {split!r}: expected one of {', '.join(get_args(Split))}")
    if loader.needs_path != bool(path):
        wanted = f"{name}:PATH" if loader.needs_path else name
        raise UsageError(f"data {spec!r}: expected {wanted}")
    if count is not None and count < 1:
        raise UsageError(f"{count} images of {spec}: expected at least 1")
    if height < 1 or width < 1 or seed < 0:
        raise UsageError(f"images of {height}x{width}, seed {seed}: expected a positive size and a seed from 0 on")
    request = Request(path=path, split=split, height=height, width=width, seed=seed, count=count, resize=resize)
    return loader.load(request)


def _load_digits(request: Request) -> DataSet:
    digits, labels = scikit.load_digits()
    train, test = digits_on_photos.split_originals(len(digits))
    originals = train if request.split == "train" else test
    chosen = originals[choose(len(originals), count=request.count, seed=request.seed)]
    grey = (digits[chosen] * (255 / 16) + 0.5).astype(np.uint8)
    planes = np.repeat(grey[:, None], 3, axis=1)
    images = resize_bilinear(planes, height=request.height, width=request.width)
    return DataSet(name="digits", images=images, labels=labels[chosen], class_names=scikit.DIGIT_NAMES)


def _load_digits_on_photos(request: Request) -> DataSet:
    digits, labels = scikit.load_digits()
    originals = digits_on_photos.prepare(digits, labels, scikit.load_photos(), split=request.split)
    if request.split == "test":
        return _composed(originals, replace(request, seed=TEST_SEED, count=request.count or TEST_COUNT), TEST_STREAM)
    request = replace(request, count=request.count or TRAIN_COUNT)
    fresh = partial(_composed, originals, request)
    return replace(fresh(0), renew=fresh)


def _composed(originals: digits_on_photos.Originals, request: Request, stream: int) -> DataSet:
    count = request.count or TRAIN_COUNT
    images, labels = digits_on_photos.compose(originals, count=count, seed=request.seed, stream=stream)
    images = resize_bilinear(images, height=request.height, width=request.width)
    return DataSet(name="digits-on-photos", images=images, labels=labels, class_names=scikit.DIGIT_NAMES)


def _load_synthetic(request: Request) -> DataSet:
    stream = 0 if request.split == "train" else TEST_STREAM
    images, labels = draw_synthetic(
        count=request.count or SYNTHETIC_COUNT,
        height=request.height,
        width=request.width,
        seed=request.seed,
        stream=stream,
    )
    names = tuple(f"class{index}" for index in range(CLASSES))
    return DataSet(name="synthetic", images=images, labels=labels, class_names=names)


def _load_folder(request: Request) -> DataSet:
    return load_folder(
        request.path,
        split=request.split,
        height=request.height,
        width=request.width,
        seed=request.seed,
        count=request.count,
        resize=request.resize,
    )


def _load_torchvision(name: str, request: Request) -> DataSet:
    # torchvision brings torch with it, so its loaders live in the one room that may import torch
    from clprune.training.vision import load_cifar, load_imagenet

    load = partial(load_imagenet, resize=request.resize) if name == "imagenet" else partial(load_cifar, name)
    return load(
        request.path,
        split=request.split,
        height=request.height,
        width=request.width,
        seed=request.seed,
        count=request.count,
    )


@dataclass(frozen=True, kw_only=True)
class _Loader:
    load: Callable[[Request], DataSet]
    needs_path: bool = False


_LOADERS = {
    "digits": _Loader(load=_load_digits),
    "digits-on-photos": _Loader(load=_load_digits_on_photos),
    "cifar10": _Loader(load=partial(_load_torchvision, "cifar10"), needs_path=True),
    "cifar100": _Loader(load=partial(_load_torchvision, "cifar100"), needs_path=True),
    "imagenet": _Loader(load=partial(_load_torchvision, "imagenet"), needs_path=True),
    "folder": _Loader(load=_load_folder, needs_path=True),
    "synthetic": _Loader(load=_load_synthetic),
}
