"""Which image files can be read, found out before hours of work and not after."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clprune.data.source import Request
from clprune.dataset import DataWarning
from clprune.errors import ImageError
from clprune.image import ImageOptions
from clprune.picture import open_picture
from clprune.progress import Progress

#: Images between two reports of progress.
BLOCK_IMAGES = 512
#: Files whose state is remembered: those of a folder that both splits come from are asked about twice.
REMEMBERED_FILES = 1 << 17
#: Broken files that are named.
NAMED_FILES = 3


def readable(paths: Sequence[Path] | NDArray[np.object_], request: Request) -> NDArray[np.bool_]:
    """Which of the files can be read, bool `[n]`: each is decoded, several at once (Pillow lets other threads run).

    A `DataWarning` counts the others. Raises ImageError where the request is strict, or none can be read.
    """
    tell = request.progress or (lambda event: None)
    faults: list[str | None] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(paths), BLOCK_IMAGES):
            block = paths[start : start + BLOCK_IMAGES]
            faults.extend(pool.map(functools.partial(_fault, options=request.options), block))
            done, is_last = len(faults), len(faults) == len(paths)
            place = f"{done}/{len(paths)} images"
            tell(Progress(stage="checking", done=done, total=len(paths), place=place, is_milestone=is_last))
    broken = [fault for fault in faults if fault is not None]
    if broken:
        more = f"; and {len(broken) - NAMED_FILES} more" if len(broken) > NAMED_FILES else ""
        first = "; ".join(broken[:NAMED_FILES]) + more
        text = f"{len(broken)} of {len(paths)} images cannot be read"
        if request.options.strict or len(broken) == len(paths):
            path = next(path for path, fault in zip(paths, faults, strict=True) if fault is not None)
            reason = "strict" if request.options.strict else "expected any"
            raise ImageError(f"{text} ({reason}): {first}", path=Path(path).parent)
        warnings.warn(DataWarning(f"{text} and are left out (--strict stops): {first}"), stacklevel=4)
    return np.array([fault is None for fault in faults], bool)


def _fault(path: Path, *, options: ImageOptions) -> str | None:
    """Why a file cannot be read, None if it can."""
    try:
        facts = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return _fault_of(path, (facts.st_mtime_ns, facts.st_size), options)


@functools.lru_cache(maxsize=REMEMBERED_FILES)
def _fault_of(path: Path, state: tuple[int, int], options: ImageOptions) -> str | None:
    try:
        open_picture(path, options=options)
    except ImageError as error:
        return str(error)
    return None
