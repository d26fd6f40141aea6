"""`folder:PATH`: images in one sub-folder per class, read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clprune.data.source import DataSource, Request
from clprune.dataset import DataSet, Indices, Pixels
from clprune.errors import DataError
from clprune.image import Resize, load_image, preprocess

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp", ".tif", ".tiff")
#: Without `train` and `test` folders, every fifth image of a class (in the order of names) is held out.
TEST_EVERY = 5

_SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """A lazy sequence of images: files that are decoded and made to fit `height` x `width` at every access."""

    paths: tuple[Path, ...]
    height: int
    width: int
    resize: Resize = "letterbox"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Indices, /) -> Pixels:
        """The chosen images, uint8 `[n, 3, height, width]`. Raises ImageError."""
        chosen = np.arange(len(self.paths))[indices]
        pixels = np.empty((len(chosen), 3, self.height, self.width), np.uint8)
        for row, index in enumerate(chosen):
            pixels[row] = self._read(self.paths[index])
        return pixels

    def _read(self, path: Path) -> Pixels:
        """One image as `clprune infer` reads it, but rounded to uint8 `[3, height, width]`."""
        values = preprocess(load_image(path), height=self.height, width=self.width, resize=self.resize)
        pixels: Pixels = np.rint(np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)
        return pixels


def _load(request: Request) -> DataSet:
    """Images of `PATH/<class>/*`, or of `PATH/train/<class>/*` and `PATH/test|val/<class>/*` where these exist.

    Classes are the sub-folders in the order of their names. `count` images are drawn by `seed`, all without it.
    Raises DataError when there is no such folder, no class or no image.
    """
    root, split = Path(request.path), request.split
    if not root.is_dir():
        raise DataError("no such folder; expected one sub-folder of images per class", path=root)
    folder, has_splits = _split_folder(root, split)
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(file for file in (folder / name).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not has_splits:
            files = [file for place, file in enumerate(files) if _held_out(place) == (split == "test")]
        paths.extend(files)
        labels.extend([label] * len(files))
    if not paths:
        suffixes = " ".join(IMAGE_SUFFIXES)
        raise DataError(f"no images for {split}: expected CLASS/IMAGE with one of {suffixes}", path=folder)
    chosen = choose(len(paths), count=request.count, seed=request.seed)
    files_chosen = tuple(paths[index] for index in chosen)
    images = ImageFiles(paths=files_chosen, height=request.height, width=request.width, resize=request.resize)
    return DataSet(name=f"folder:{root}", images=images, labels=np.array(labels, np.int64)[chosen], class_names=classes)


def choose(available: int, *, count: int | None, seed: int) -> NDArray[np.int64]:
    """Indices of `count` of `available` items drawn by `seed`, in rising order; of all of them where that is fewer."""
    if count is None or count >= available:
        return np.arange(available, dtype=np.int64)
    order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(available), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def _held_out(place: int) -> bool:
    return place % TEST_EVERY == TEST_EVERY - 1


def _split_folder(root: Path, split: str) -> tuple[Path, bool]:
    found = {name: _first_folder(root, names) for name, names in _SPLIT_FOLDERS.items()}
    chosen = found[split]
    if chosen is not None and all(found.values()):
        return chosen, True
    return root, False


def _first_folder(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


DATA_SET = DataSource(load=_load, needs_path=True)
