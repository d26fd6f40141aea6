"""`folder:PATH`: images in one sub-folder per class, read when they are asked for.

The classes and their order are those of the training images, whichever split is asked for; names are in natural order
(2 before 10). What is no image of a class is left out, which a `DataWarning` counts.
"""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from clprune.data.readable import readable
from clprune.data.source import DataSource, Request
from clprune.dataset import DataSet, DataWarning, Indices, Origin, Pixels
from clprune.errors import DataError
from clprune.image import ImageOptions, read_input
from clprune.picture import IMAGE_SUFFIXES

#: Without `train` and `test` folders, every fifth image of a class (in the order of names) is held out.
TEST_EVERY = 5

#: Names of folders of a split, in upper or lower case; of several the first counts that holds classes.
TRAIN_FOLDERS, TEST_FOLDERS = ("train", "training"), ("test", "val", "valid", "validation")

#: Of folders in folders that are looked into.
MOST_DEPTH = 32

LAYOUTS = (
    "expected one sub-folder of images per class, PATH/CLASS/IMAGE, for two classes or more; or such folders for "
    "training and for testing, PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE (or val)"
)

#: What archives and desktops leave behind, beside whatever begins with a dot.
_LITTER = (
    "__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """A lazy sequence of images: files that are decoded and made to fit `height` x `width` at every access."""

    paths: tuple[Path, ...]
    height: int
    width: int
    channels: int = 3
    options: ImageOptions = field(default_factory=ImageOptions)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Indices, /) -> Pixels:
        """The chosen images, uint8 `[n, channels, height, width]`. Raises ImageError."""
        chosen = np.arange(len(self.paths))[indices]
        pixels = np.empty((len(chosen), self.channels, self.height, self.width), np.uint8)
        for row, index in enumerate(chosen):
            pixels[row] = self._read(self.paths[index])
        return pixels

    def _read(self, path: Path) -> Pixels:
        """One image as `clprune infer` reads it, but rounded to uint8 `[channels, height, width]`."""
        values = read_input(path, channels=self.channels, height=self.height, width=self.width, options=self.options)
        pixels: Pixels = np.rint(np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)
        return pixels


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the classes' folders are: those of training and of test images, None where there are none.

    `is_plain` means that both lie in one folder, and every fifth image is held out.
    """

    train: Path | None
    test: Path | None
    is_plain: bool = False


def load_folder(request: Request, *, name: str, needs_splits: bool = False) -> DataSet:
    """Images of `PATH/<class>/*`, or of `PATH/train/<class>/*` and `PATH/test|val/<class>/*` where these exist.

    `count` images are drawn by `seed`, all without it. Files that cannot be read are left out, or with `strict` an
    error. Raises DataError for what is no folder or of no layout that is understood, and for test images of classes
    that the training images have not; ImageError.
    """
    root, split = Path(request.path), request.split
    if not root.is_dir():
        raise DataError(f"no such folder; {LAYOUTS}", path=root)
    layout = _find_layout(root)
    folder = layout.train if split == "train" else layout.test
    if folder is None or (needs_splits and layout.is_plain):
        raise DataError(f"no images for {split}: {LAYOUTS}", path=root)
    skipped: Counter[str] = Counter()
    files = _images_by_class(folder, skipped)
    classes = tuple(files) if layout.train in (None, folder) else tuple(_images_by_class(layout.train, Counter()))
    _check_classes(files, classes, root=root, folder=folder, split=split, skipped=skipped)
    if layout.train is None:
        _say(f"{folder}: no training images beside it, so that the order of the classes is that of their names here")
    paths = np.array([path for name in classes for path in files.get(name, ())], dtype=object)
    labels = np.array([label for label, name in enumerate(classes) for _ in files.get(name, ())], np.int64)
    if skipped:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(skipped.items()))
        _say(f"{folder}: {len(paths)} images of {len(files)} classes; left out: {counts}")
    if layout.is_plain:
        good = readable(paths, request)
        paths, labels = paths[good], labels[good]
        held_out = _held_out(labels)
        chosen = np.flatnonzero(held_out if split == "test" else ~held_out)
        chosen = chosen[choose(len(chosen), count=request.count, seed=request.seed)]
    else:
        chosen = choose(len(paths), count=request.count, seed=request.seed)
        chosen = chosen[readable(paths[chosen], request)]
    if not len(chosen) and layout.is_plain and len(paths):
        few = f"{len(paths)} images of {len(classes)} classes, of which every {TEST_EVERY}th of a class is for testing"
        raise DataError(f"{few}: none for {split}; expected more, or folders train and test", path=folder)
    if not len(chosen):
        raise DataError(f"no images for {split}: {LAYOUTS}", path=folder)
    images = ImageFiles(
        paths=tuple(paths[chosen]), height=request.height, width=request.width, channels=request.channels,
        options=request.options,
    )  # fmt: skip
    origin = Origin.of([path.relative_to(folder) for name in files for path in files[name]], count=request.count)
    return DataSet(name=name, images=images, labels=labels[chosen], class_names=classes, origin=origin)


def choose(available: int, *, count: int | None, seed: int) -> NDArray[np.int64]:
    """Indices of `count` of `available` items drawn by `seed`, in rising order; of all of them where that is fewer."""
    if count is None or count >= available:
        return np.arange(available, dtype=np.int64)
    order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(available), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def natural_order(name: str) -> tuple[object, ...]:
    """A sorting key by which 2 comes before 10."""
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def _held_out(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Every fifth of the images of each class; `labels` rise."""
    places = np.arange(len(labels)) - np.searchsorted(labels, labels)
    held_out: NDArray[np.bool_] = places % TEST_EVERY == TEST_EVERY - 1
    return held_out


def _find_layout(root: Path, *, depth: int = 0) -> _Layout:
    """Raises DataError for one that is not understood, such as more than MOST_DEPTH folders around everything."""
    folders = _folders(root)
    train, test = _of_split(folders, TRAIN_FOLDERS), _of_split(folders, TEST_FOLDERS)
    if train is not None and test is not None:
        others = [folder for folder in folders if folder not in (train, test) and _has_images(folder)]
        if others:
            _say(f"{root}: only {train.name} and {test.name} are used, not {_listed(others)}")
        return _Layout(train=train, test=test)
    full = [folder for folder in folders if _has_images(folder)]
    holders = [folder for folder in full if not _has_images(folder, deep=False)]
    if len(full) == 1 and holders:  # a folder round it all, or a split without the other one
        _say(f"{root}: of its folders only {full[0].name} is used")
        if depth == MOST_DEPTH:
            raise DataError(f"is in {depth} folders that hold nothing else: {LAYOUTS}", path=root)
        if train is None and test is None:
            return _find_layout(full[0], depth=depth + 1)
        return _Layout(train=train, test=test or train, is_plain=train is not None)
    if any(folder in holders for folder in (train, test)):
        raise DataError(f"found {_listed(full)} in it: {LAYOUTS}", path=root)
    if holders:
        _say(f"{root}: images lie in folders within {_listed(holders)}, and count as one class each")
    return _Layout(train=root, test=root, is_plain=True)


def _of_split(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The folder of a split: of several the first that holds classes."""
    found = sorted(
        (folder for folder in folders if folder.name.lower() in names),
        key=lambda folder: names.index(folder.name.lower()),
    )
    return next((folder for folder in found if any(map(_has_images, _folders(folder)))), next(iter(found), None))


def _check_classes(
    files: dict[str, list[Path]], classes: Sequence[str], *, root: Path, folder: Path, split: str, skipped: Counter[str]
) -> None:
    """Raise DataError for too few classes, and for those that the training images have not."""
    strangers = [name for name in files if name not in classes]
    if strangers and classes:
        raise DataError(
            f"classes of no training image: {_listed(strangers)}; expected only those {len(classes)} that have some, "
            f"{_listed(classes)}",
            path=folder,
        )
    if not files or not classes:
        split = split if not files else "train"
        found = "".join(f"; found {count} {what}" for what, count in sorted(skipped.items()))
        raise DataError(
            f"no images for {split}: {LAYOUTS}, IMAGE with one of {' '.join(IMAGE_SUFFIXES)}{found}", path=folder
        )
    if len(classes) < 2:
        raise DataError(f"a single class, {_listed(classes)}: {LAYOUTS}", path=root)
    for name in classes:
        if not name.isprintable() or name != name.strip():
            raise DataError(
                f"class {name!r}: expected a printable name, which fits on a line of a names file", path=root
            )


def _images_by_class(folder: Path, skipped: Counter[str]) -> dict[str, list[Path]]:
    """Class -> its image files, classes in natural order; what is none is counted in `skipped` by what it is.

    Names are composed (NFC), as macOS and Linux write an accent differently.
    """
    found: dict[str, list[Path]] = {}
    names = [(unicodedata.normalize("NFC", entry.name), entry) for entry in _entries(folder)]
    for name, entry in sorted(names, key=lambda named: (natural_order(named[0]), named[1])):
        if _is_litter(name):
            skipped["hidden"] += 1
        elif not entry.is_dir():
            suffix = entry.suffix.lower()
            skipped["images in no class's folder" if suffix in IMAGE_SUFFIXES else suffix or "without suffix"] += 1
        elif images := sorted(images_below(entry, skipped)):
            found.setdefault(name, []).extend(images)
        else:
            skipped["folders without images"] += 1
    return found


def images_below(folder: Path, skipped: Counter[str] | None = None, *, deep: bool = True) -> Iterator[Path]:
    """Image files in a folder and, if `deep`, in folders below it."""
    skipped = Counter() if skipped is None else skipped
    for place, folders, files in os.walk(folder, onerror=partial(_refuse, folder)):
        shown = [name for name in folders if not _is_litter(name)]
        if len(shown) < len(folders):
            skipped["hidden"] += len(folders) - len(shown)
        folders[:] = shown if deep else []
        if len(Path(place).parts) - len(folder.parts) == MOST_DEPTH and folders:
            skipped[f"more than {MOST_DEPTH} folders deep"] += len(folders)
            folders.clear()
        for name in files:
            suffix = Path(name).suffix.lower()
            if _is_litter(name):
                skipped["hidden"] += 1
            elif suffix in IMAGE_SUFFIXES:
                yield Path(place, name)
            else:
                skipped[suffix or "without suffix"] += 1


def _has_images(folder: Path, *, deep: bool = True) -> bool:
    return next(images_below(folder, deep=deep), None) is not None


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in _entries(root) if entry.is_dir() and not _is_litter(entry.name))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        _refuse(folder, error)


def _refuse(folder: Path, error: OSError) -> NoReturn:
    raise DataError(f"cannot be read: {error.strerror or error}", path=error.filename or folder) from error


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def _listed(names: Sequence[str | Path]) -> str:
    """The first few names."""
    shown = [Path(name).name for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _say(text: str) -> None:
    warnings.warn(DataWarning(text), stacklevel=3)


def _load(request: Request) -> DataSet:
    return load_folder(request, name=f"folder:{Path(request.path)}")


DATA_SET = DataSource(load=_load, needs_path=True)
