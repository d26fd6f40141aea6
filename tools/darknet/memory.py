"""What a process holds while images go through one `Detector` or `Runner`: resident memory, image after image."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clprune.container.model import Model
from clprune.detection import Detector
from clprune.runner import Runner

#: Sides of the pictures: others than the network's, and than each other.
_SIDES = ((240, 320), (333, 500), (97, 64))


def resident_mb() -> float:
    """Resident memory of this process in MB, which on a CPU has the device's buffers in it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def of_detector(model: Model, *, images: int, every: int, device: str | None = None) -> list[float]:
    """MB after each `every` images: decoded by threads, boxes found in all."""
    rng = np.random.default_rng(0)
    pictures: list[NDArray[np.uint8]] = [rng.integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in _SIDES]
    with Detector(model, device=device) as detector:
        chosen = itertools.islice(itertools.cycle(pictures), images)
        return list(_sampled(detector.many(chosen), every=every))


def of_runner(model: Model, *, images: int, every: int, device: str | None = None) -> list[float]:
    """MB after each `every` images, run one by one."""
    x = np.random.default_rng(0).random((1, *model.network.input.dimensions), np.float32)
    with Runner(model, device=device) as runner:
        return list(_sampled((runner.outputs(x) for _ in range(images)), every=every))


def _sampled(answers: Iterable[object], *, every: int) -> Iterator[float]:
    for count, _ in enumerate(answers, start=1):
        if count % every == 0:
            yield resident_mb()
