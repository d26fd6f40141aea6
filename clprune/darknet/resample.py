"""Resampling of rows and columns: which values each new one is made of, and the share of each.

Source: the operator Resize of ONNX, version 19 (https://onnx.ai/onnx/operators/onnx__Resize.html). With magnification
s = `scale`, new value i lies at the place that `coordinates` say; places beyond the ends count as the last value there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.float64]

#: Where in the old row the values of the new one lie: (new places, magnification, old length, new length) -> places.
COORDINATES: Mapping[str, Callable[[Places, float, int, int], Places]] = {
    "half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5,
    "asymmetric": lambda i, scale, old, new: i / scale,
    "align_corners": lambda i, scale, old, new: i * (old - 1) / max(new - 1, 1),
    "pytorch_half_pixel": lambda i, scale, old, new: (i + 0.5) / scale - 0.5 if new > 1 else 0 * i,
}

#: Which neighbour is the nearest.
ROUNDING: Mapping[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}

#: Neighbours that a value is made of.
TAPS: Mapping[str, int] = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """A row of `old` values becomes one of `new`.

    `mode` is one of `TAPS`; `scale` the magnification that places follow from, which may differ from new / old;
    `rounding` concerns the nearest alone, `cubic` is the coefficient of cubic convolution (Keys 1981).
    """

    old: int
    new: int
    mode: str
    coordinates: str
    scale: float
    rounding: str = "round_prefer_floor"
    cubic: float = -0.75

    @property
    def taps(self) -> int:
        """Neighbours that a value is made of."""
        return TAPS[self.mode]

    @property
    def sources(self) -> npt.NDArray[np.int32]:
        """`[new, taps]`: the old places of which each value is made."""
        first = self._first[:, None] + np.arange(self.taps)
        return np.clip(first, 0, self.old - 1).astype(np.int32)

    @property
    def shares(self) -> npt.NDArray[np.float32]:
        """`[new, taps]`: the share of each."""
        distance = np.abs(self._places[:, None] - self._first[:, None] - np.arange(self.taps))
        if self.mode == "nearest":
            return np.ones(distance.shape, np.float32)
        if self.mode == "linear":
            return (1 - distance).astype(np.float32)
        a = self.cubic
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        return np.where(distance <= 1, near, far).astype(np.float32)

    @property
    def is_copy(self) -> bool:
        """Whether value i is the old value i // n, for a whole number n."""
        times = self.new // self.old
        return self.taps == 1 and np.array_equal(self.sources[:, 0], np.arange(self.new) // max(times, 1))

    @property
    def _places(self) -> Places:
        return COORDINATES[self.coordinates](np.arange(self.new, dtype=np.float64), self.scale, self.old, self.new)

    @property
    def _first(self) -> Places:
        """The first place of each value, perhaps outside of the row."""
        if self.mode == "nearest":
            return ROUNDING[self.rounding](self._places)
        # a place beyond the row's end has that end's value: all shares go to copies of it
        return np.floor(self._places) - (self.taps // 2 - 1)
