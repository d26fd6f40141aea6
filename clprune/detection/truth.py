"""What is in images: boxes that people drew, as darknet's label files beside the images have them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clprune.darknet.data_file import read_data_file
from clprune.dataset import MOST_OBJECTS, DataWarning, Truth
from clprune.errors import DataError, shown
from clprune.files import read_lines

#: Parts of an image's path and what stands in their place in its labels' (replace_image_to_label of AlexeyAB's utils.c,
#: and at last the one rule of pjreddie's data.c).
_FOLDERS = (
    *((f"/images/{split}/", f"/labels/{split}/") for split in ("train2017", "val2017", "train2014", "val2014")),
    ("/JPEGImages/", "/labels/"),
    ("images", "labels"),
)

#: No box reaches so far beyond its image, of which coordinates are shares.
MOST_SHARE = 1000.0


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with what is in them."""

    paths: tuple[Path, ...]
    truths: tuple[Truth, ...]


def read_darknet_images(path: str | Path, *, classes: int) -> LabelledImages:
    """The images of a `.data` file's list `valid=` with their label files; those of `difficult=` need not be found.

    An image without a label file has no objects; a `DataWarning` counts them. Raises DataError, also for a label of a
    class from `classes` on.
    """
    data = read_data_file(path)
    paths = data.images("valid")
    labels = [label_path(image) for image in paths]
    missing = [label for label in labels if not label.exists()]
    if len(missing) == len(labels):
        raise DataError(f"no such file, nor any labels of {len(labels)} images: expected {labels[0]}", path=labels[0])
    if missing:
        text = f"{data.path}: {len(missing)} of {len(labels)} images have no labels and count as empty: {missing[0]}"
        warnings.warn(DataWarning(text), stacklevel=3)
    objects = [list(_read_labels(label, classes)) if label.exists() else [] for label in labels]
    difficult: list[list[tuple[int, Sequence[float]]]] = [[] for _ in paths]
    if "difficult" in data.options:
        others = [label_path(image) for image in data.images("difficult")]
        if len(others) != len(paths):
            raise DataError(f"{len(others)} images in difficult=, {len(paths)} in valid=: expected as many", path=path)
        difficult = [list(_read_labels(other, classes)) if other.exists() else [] for other in others]
    truths = (
        Truth.of([*easy, *hard], [False] * len(easy) + [True] * len(hard))
        for easy, hard in zip(objects, difficult, strict=True)
    )
    return LabelledImages(paths=paths, truths=tuple(truths))


def label_path(image: Path) -> Path:
    """The label file of an image, as darknet looks for it: with `.txt`, in `labels` for an image in `images`."""
    text = image.as_posix()
    *own, (find, replacement) = _FOLDERS
    for folder, labels in own:
        text = text.replace(folder, labels, 1)
    found = Path(text).with_suffix(".txt")
    other = Path(text.replace(find, replacement, 1)).with_suffix(".txt")
    return found if found.exists() or not other.exists() else other


def _read_labels(path: Path, classes: int) -> Iterator[tuple[int, Sequence[float]]]:
    """(class, box) of each line of a label file. Raises DataError naming file and line."""
    for number, line in enumerate(read_lines(path, expected="a class and a box per line"), start=1):
        if not line:
            continue
        if number > MOST_OBJECTS:
            raise DataError(f"more lines: expected at most {MOST_OBJECTS} objects in an image", path=path, line=number)
        try:
            index, *box = (float(word) for word in line.split())
        except ValueError:
            index, box = -1.0, []
        is_box = len(box) == 4 and np.abs(box).max() <= MOST_SHARE and min(box[2:]) >= 0  # not so for NaN
        if not index.is_integer() or index < 0 or not is_box:
            message = f"{shown(line)!r}: expected a class, centre x, centre y, width and height (shares of the image)"
            raise DataError(message, path=path, line=number)
        if index >= classes:
            message = f"class {index:.0f}: expected 0 to {classes - 1}, the network's classes"
            raise DataError(message, path=path, line=number)
        yield int(index), box
