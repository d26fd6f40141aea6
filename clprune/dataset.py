"""What a data set is to the rest of clprune: images on demand, labels and class names."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clprune.errors import ClpruneWarning, DataError, UsageError

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64] | Sequence[int] | slice

#: In one image, as every detection is compared with each of its class: crowded data sets have some thousands.
MOST_OBJECTS = 10_000


class DataWarning(ClpruneWarning):
    """Files of a data set are left out, or taken in a way that may be a mistake; the text says which."""


class Images(Protocol):
    """Images that are read when they are asked for; a uint8 array `[N, C, height, width]` is one as well."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Indices, /) -> Pixels:
        """The chosen images, uint8 `[n, C, height, width]`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The objects of one image: `boxes` float32 `[n, 4]` (centre x, centre y, width, height as shares of the image),
    `classes` int64 `[n]`. Those that `are_difficult`, bool `[n]`, need not be found.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    are_difficult: NDArray[np.bool_]

    @classmethod
    def of(cls, objects: Sequence[tuple[int, Sequence[float]]], difficult: Sequence[bool] = ()) -> Truth:
        """From (class, box) of each object."""
        return cls(
            boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
            classes=np.array([number for number, _ in objects], np.int64),
            are_difficult=np.array(difficult or [False] * len(objects), bool),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """Files that `count` images (None: all) were chosen from: `identities` int64 `[n]` of their names, rising."""

    identities: NDArray[np.int64]
    count: int | None

    @classmethod
    def of(cls, paths: Sequence[Path], *, count: int | None) -> Origin:
        """Another name has another identity but by a chance of 2^-64."""
        digests = b"".join(hashlib.blake2b(os.fsencode(path), digest_size=8).digest() for path in paths)
        return cls(identities=np.sort(np.frombuffer(digests, np.int64)), count=count)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """`images` uint8 `[N, C, height, width]` (3 channels RGB, 1 grey), `labels` int64 `[N]` counting `class_names`.

    Images without labels count no names (`unlabelled`). `renew` makes the same set with fresh random compositions for
    an epoch number, where the data is composed. `origin` tells of what files it was chosen from, where it comes from
    files. `truths`, one per image, are the objects that a detector is to find in them.
    """

    name: str
    images: Pixels | Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    renew: Callable[[int], DataSet] | None = None
    origin: Origin | None = None
    truths: tuple[Truth, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise UsageError(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def unlabelled(cls, *, name: str, images: Pixels | Images, **facts: Any) -> DataSet:
        """Images of which nobody says what they show."""
        return cls(name=name, images=images, labels=np.zeros(len(images), np.int64), class_names=(), **facts)

    @property
    def is_labelled(self) -> bool:
        """Whether anybody says what the images show."""
        return bool(self.class_names)

    def check_labelled(self, expected: str) -> None:
        """Raise UsageError for images without labels; `expected` says what would do."""
        if not self.is_labelled:
            raise UsageError(f"{self.name} has no labels: expected {expected}")

    def batch(self, indices: Indices) -> NDArray[np.float32]:
        """The chosen images as float32 `[n, C, height, width]` in 0..1, darknet's input."""
        scaled: NDArray[np.float32] = self.images[indices].astype(np.float32)
        scaled /= np.float32(255)
        return scaled

    def drawn(self, count: int, *, seed: int = 0) -> DataSet:
        """`count` images drawn by `seed` (all where there are fewer), the same ones in every epoch.

        They are in random order: sets may lie class by class, and some of these must stand for all of them.
        """
        order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(len(self)), kind="stable")[:count]
        truths = None if self.truths is None else tuple(self.truths[index] for index in order)
        return replace(
            self, images=self.images[order], labels=self.labels[order], renew=None, origin=None, truths=truths
        )

    def grey(self) -> DataSet:
        """The same images with one channel, the luma of RGB as Pillow has it (ITU-R 601)."""
        images = self.images
        grey = _grey(images) if isinstance(images, np.ndarray) else _GreyImages(images)
        renew = self.renew
        return replace(self, images=grey, renew=None if renew is None else lambda number: renew(number).grey())

    def in_order_of(self, names: Sequence[str], *, path: str | Path) -> DataSet:
        """The same images with labels that count into `names`, a model's own, where all their classes are among these.

        Classes that are called quite otherwise stay as they are, with a `DataWarning`. Raises DataError where only some
        are found; `path` is the names' file.
        """
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        strangers = [name for name in self.class_names if name not in places]
        if len(strangers) == len(self.class_names):
            warnings.warn(
                DataWarning(f"{self.name}: no class is named in {path}; they are taken in order"), stacklevel=3
            )
            return self
        if strangers:
            raise DataError(f"has no class {strangers[0]!r} of {self.name}: expected all of its names", path=path)
        order = np.array([places[name] for name in self.class_names], np.int64)
        return replace(self, labels=order[self.labels], class_names=tuple(names))

    def epoch(self, number: int) -> DataSet:
        """The set to train on in this epoch: fresh compositions where the data has them, else the set itself."""
        return self if self.renew is None or number == 0 else self.renew(number)


@dataclass(frozen=True)
class _GreyImages:
    """Images of one channel, made of others when they are asked for."""

    images: Images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Indices, /) -> Pixels:
        return _grey(self.images[indices])


def _grey(pixels: Pixels) -> Pixels:
    """`[n, C, height, width]` to `[n, 1, height, width]`, as Pillow rounds it."""
    if pixels.shape[1] != 3:
        return pixels
    red, green, blue = (pixels[:, channel].astype(np.uint32) for channel in range(3))
    grey: Pixels = (red * 19595 + green * 38470 + blue * 7471 + 0x8000 >> 16).astype(np.uint8)
    return grey[:, None]
