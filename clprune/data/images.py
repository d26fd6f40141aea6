"""`images:FOLDER`: all pictures in a folder and below it, without labels; every fifth is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clprune.data.folder import TEST_EVERY, ImageFiles, choose, images_below, natural_order
from clprune.data.readable import readable
from clprune.data.source import DataSource, Request
from clprune.dataset import DataSet, Origin
from clprune.errors import DataError
from clprune.picture import IMAGE_SUFFIXES


def _load(request: Request) -> DataSet:
    root = Path(request.path)
    if not root.is_dir():
        raise DataError("no such folder: expected one with images in it", path=root)
    paths = sorted(images_below(root), key=lambda path: natural_order(str(path.relative_to(root))))
    files = np.array(paths, dtype=object)
    files = files[readable(files, request)]
    is_held_out = np.arange(len(files)) % TEST_EVERY == TEST_EVERY - 1
    files = files[is_held_out if request.split == "test" else ~is_held_out]
    if not len(files):
        found = f"{len(paths)} images in it, none for {request.split}"
        raise DataError(f"{found}: expected {TEST_EVERY} or more with one of {' '.join(IMAGE_SUFFIXES)}", path=root)
    chosen = files[choose(len(files), count=request.count, seed=request.seed)]
    images = ImageFiles(
        paths=tuple(chosen), height=request.height, width=request.width, channels=request.channels,
        options=request.options,
    )  # fmt: skip
    origin = Origin.of([path.relative_to(root) for path in paths], count=request.count)
    return DataSet.unlabelled(name=f"images:{root}", images=images, origin=origin)


DATA_SET = DataSource(load=_load, needs_path=True)
