"""What a data set is to `--data NAME[:PATH]`: a file here, or an entry point of another package, with a `DATA_SET`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.machine import memory_bytes
from clprune.progress import OnProgress

Split = Literal["train", "test"]

#: Where other packages register their data sets: `NAME = package.module:DATA_SET`.
ENTRY_POINTS = "clprune.data_sets"
#: Images with boxes, by which detectors are judged.
BOX_DATA = ("darknet:FILE.data", "coco:FILE.json")
#: What draws test images at random draws from this stream on: epochs count theirs from 0, so that none meets it.
TEST_STREAM = 1 << 20


def check_drawn(*, count: int, height: int, width: int) -> None:
    """Raise UsageError for RGB images, drawn all at once, that are more than the machine's memory."""
    needed = count * 3 * height * width
    memory = memory_bytes()
    if needed > memory:
        found = f"{count} images of {height}x{width} pixels take {needed} bytes, of which this machine has {memory}"
        raise UsageError(f"{found}: expected fewer (--count), or smaller ones")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a data set is asked for: images of `height` x `width` pixels, `count` of them (None: as many as it gives).

    `path` is empty where the data needs none, `seed` moves what is drawn for training, `options` say how image files
    are read. `channels` is 3 (RGB) or 1 (grey); RGB will do for both. `progress` hears of long preparations.
    """

    path: str
    split: Split
    height: int
    width: int
    seed: int
    count: int | None
    channels: int = 3
    options: ImageOptions = field(default_factory=ImageOptions)
    progress: OnProgress | None = None


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A data set that can be asked for. `load` raises DataError for a path that is missing or malformed, and
    MissingDependencyError where a package is needed.
    """

    load: Callable[[Request], DataSet]
    needs_path: bool = False
