"""What a data set is to the rest of clprune: images on demand, labels and class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64] | Sequence[int] | slice


class Images(Protocol):
    """Images that are read when they are asked for; a uint8 array `[N, 3, height, width]` is one as well."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Indices, /) -> Pixels:
        """The chosen images, uint8 `[n, 3, height, width]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """`images` uint8 `[N, 3, height, width]` (RGB), `labels` int64 `[N]` counting into `class_names`.

    `renew` makes the same set with fresh random compositions for an epoch number, where the data is composed.
    """

    name: str
    images: Pixels | Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    renew: Callable[[int], DataSet] | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise UsageError(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Indices) -> NDArray[np.float32]:
        """The chosen images as float32 `[n, 3, height, width]` in 0..1, darknet's input."""
        scaled: NDArray[np.float32] = self.images[indices].astype(np.float32)
        scaled /= np.float32(255)
        return scaled

    def first(self, count: int) -> DataSet:
        """The first `count` images (all where there are fewer), the same ones in every epoch."""
        chosen = slice(0, count)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], renew=None)

    def epoch(self, number: int) -> DataSet:
        """The set to train on in this epoch: fresh compositions where the data has them, else the set itself."""
        return self if self.renew is None or number == 0 else self.renew(number)
