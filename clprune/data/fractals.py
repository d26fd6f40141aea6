"""`fractals`: pictures drawn from a seed, without labels; for distilling and fitting where there are none of one's own.

Each is the attractor of a few random affine maps x -> A x + b, one of which a point goes through at every step
(Barnsley's chaos game), drawn in a random colour over others: edges, textures and areas of every size. For pruning
after training without data, after Lazarevich et al. 2021 (arXiv 2104.15023), who took pictures like those of FractalDB
(Kataoka et al. 2020), larger and of more points. The singular values of each A are drawn between 0.3 and 0.9, so that
every system contracts.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from clprune.data.source import TEST_STREAM, DataSource, Request, check_drawn
from clprune.dataset import DataSet, Indices, Pixels

#: Pictures where no count is given.
COUNT = 1024
#: Points that wander at once, the steps that each is drawn for, and those before it is near the attractor.
POINTS, STEPS, STEPS_BEFORE = 256, 24, 8
#: Attractors drawn over each other in one picture.
LAYERS = 3
_MAPS = 4


class Fractals:
    """`count` pictures that are drawn when they are asked for first, uint8 `[count, 3, height, width]`.

    They follow from `seed` and `stream`, each from its own number beside them.
    """

    def __init__(self, *, count: int, height: int, width: int, seed: int, stream: int) -> None:
        check_drawn(count=count, height=height, width=width)
        self._images = np.empty((count, 3, height, width), np.uint8)
        self._are_drawn = np.zeros(count, np.bool_)
        self._entropy = (seed, stream)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: Indices, /) -> Pixels:
        chosen = np.arange(len(self))[indices]
        for index in chosen[~self._are_drawn[chosen]]:
            self._draw(index)
        return self._images[chosen]

    def _draw(self, index: int) -> None:
        height, width = self._images.shape[2:]
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._entropy, index])))
        image = np.broadcast_to(random.random((3, 1, 1)), (3, height, width))
        for _ in range(LAYERS):
            strength = _attractor(random, height=height, width=width)
            image = image + strength * (random.random((3, 1, 1)) - image)
        self._images[index] = np.rint(255 * image)
        self._are_drawn[index] = True


def _attractor(random: np.random.Generator, *, height: int, width: int) -> NDArray[np.float64]:
    """How strongly each place of a picture is drawn, `[height, width]`, 0 to 1."""
    first, second = (_rotations(random.random(_MAPS) * 2 * np.pi) for _ in range(2))
    maps = first * random.uniform(0.3, 0.9, (_MAPS, 1, 2)) @ second
    shifts = random.uniform(-1, 1, (_MAPS, 2))
    points, seen = np.zeros((POINTS, 2)), []
    for chosen in random.integers(_MAPS, size=(STEPS_BEFORE + STEPS, POINTS)):
        points = np.einsum("nij,nj->ni", maps[chosen], points) + shifts[chosen]
        seen.append(points)
    places = np.concatenate(seen[STEPS_BEFORE:])
    low, high = places.min(axis=0), places.max(axis=0)
    size = random.uniform(0.4, 1.5)  # parts of it, or all of it somewhere
    corner = random.uniform(min(0, 1 - size), max(0, 1 - size), 2)
    rows, columns = (((places - low) / np.maximum(high - low, 1e-9) * size + corner) * (height, width)).astype(int).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    hits = np.bincount(rows[inside] * width + columns[inside], minlength=height * width)
    mean = max(float(hits[hits > 0].mean()), 1.0) if inside.any() else 1.0
    strength: NDArray[np.float64] = 1 - np.exp(-2 * hits / mean)
    return strength.reshape(height, width)


def _rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cosines, sines = np.cos(angles), np.sin(angles)
    found: NDArray[np.float64] = np.stack([np.stack([cosines, -sines], -1), np.stack([sines, cosines], -1)], -2)
    return found


def _draw(request: Request, epoch: int) -> DataSet:
    stream = epoch + (0 if request.split == "train" else TEST_STREAM)
    images = Fractals(
        count=request.count or COUNT, height=request.height, width=request.width, seed=request.seed, stream=stream
    )
    renew = partial(_draw, request) if request.split == "train" else None
    return DataSet.unlabelled(name="fractals", images=images, renew=renew)


DATA_SET = DataSource(load=partial(_draw, epoch=0))
