"""What an ONNX tensor is while a graph is read: values of a layer, put elsewhere, a function applied to each.

Both are kept open until they are needed. Where a tensor's values come from is an array of indices, on which operators
that only move values are evaluated as they stand: whatever they amount to (nothing, a flattening, channels last,
shuffled channels, zeros around an image) shows in the indices. What a chain of operators makes of single values is kept
as its values at many points, and compared with the activations that clprune has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.darknet.reorder import Reorder
from clprune.geometry import Shape

Indices = npt.NDArray[np.int32]
Samples = npt.NDArray[np.float64]

#: Places of a border: of zeros, or of what is never a maximum.
ZERO, LOWEST = -1, -2

#: Where functions are compared; corners of piecewise ones lie between.
PROBES: Samples = np.concatenate(
    [np.linspace(-12, 12, 2401), [sign * size for size in (20.0, 50.0, 1e2, 1e3, 1e4, 1e6) for sign in (-1, 1)]]
)
#: Difference that constants rounded to float32 make, relative to x.
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Feature:
    """A tensor: `places` `[1, ...]` are indices into the flat output (CHW) of `layer`, or `ZERO` or `LOWEST` beside it.

    `samples` are the function of it at `PROBES`, None for no function. `otherwise` gives the same tensor out of layers
    of its own, for functions that no activation equals.
    """

    layer: int
    places: Indices
    samples: Samples | None = None
    otherwise: Callable[[], Feature] | None = None

    @property
    def at_probes(self) -> Samples:
        """The function's values at `PROBES`."""
        return PROBES if self.samples is None else self.samples


def whole(shape: Shape) -> Indices:
    """All of a layer's output as `[1, C, H, W]`."""
    return np.arange(shape.elements, dtype=np.int32).reshape(1, shape.channels, shape.height, shape.width)


def channels_last(shape: Shape) -> Indices:
    """All of a layer's output as `[1, H, W, C]`."""
    return np.moveaxis(whole(shape), 1, -1)


@functools.cache
def _known() -> dict[str, Samples]:
    return {name: activate(name, PROBES) for name in ACTIVATIONS}


def activation_of(samples: Samples) -> str | None:
    """The activation that has these values at `PROBES`."""
    return next((name for name, values in _known().items() if _are_close(samples, values)), None)


def line_of(samples: Samples) -> tuple[float, float] | None:
    """(factor, offset) where they lie on a line."""
    offset = float(samples[PROBES == 0][0])
    factor = float(samples[PROBES == 1][0]) - offset
    is_finite = np.isfinite(offset) and np.isfinite(factor)
    return (factor, offset) if is_finite and _are_close(samples, factor * PROBES + offset) else None


def _are_close(found: Samples, expected: Samples) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(found - expected) <= _TOLERANCE * (1 + np.abs(PROBES))).all())


def border_of(places: Indices) -> tuple[Indices, tuple[int, int, int, int]]:
    """What lies inside of a border around `[1, C, H, W]`, and how wide that is (top, left, bottom, right)."""
    inside = places[0] >= 0
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(rows) or not len(columns):
        return places, (0, 0, 0, 0)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = places.shape[2:]
    core = places[:, :, top:bottom, left:right]
    return core, (int(top), int(left), int(height - bottom), int(width - right))


@dataclass(frozen=True, kw_only=True, eq=False)
class Planes:
    """A part of each plane of some channels: the rows from `top` and the columns from `left` on."""

    channels: Indices
    top: int
    left: int


def planes_of(places: Indices, shape: Shape) -> Planes | None:
    """What `[1, C', H', W']` holds of a layer's output; None where that is no part of planes."""
    if places.ndim != 4:
        return None
    channels, corners = np.divmod(places[0, :, 0, 0], shape.height * shape.width)
    top, left = divmod(int(corners[0]), shape.width)
    height, width = places.shape[2:]
    rows, columns = (first + np.arange(count) for first, count in ((top, height), (left, width)))
    expected = (channels[:, None, None] * shape.height + rows[:, None]) * shape.width + columns
    fits = top + height <= shape.height and left + width <= shape.width
    return Planes(channels=channels, top=top, left=left) if fits and np.array_equal(places[0], expected) else None


def reorg_of(places: Indices, shape: Shape) -> tuple[str, dict[str, Any]] | None:
    """The section and keys of the space to depth, or depth to space, that `[1, C', H', W']` is of a layer's output."""
    if places.ndim != 4 or places.size != shape.elements:
        return None
    channels, height, width = places.shape[1:]
    stride = max(shape.height // height, height // shape.height, 1)
    result = Shape(channels=channels, height=height, width=width)
    for section, sizes in (("reorg", shape), ("reorg3d", result)):
        for reverse in (0, 1):
            if sizes.channels % stride**2 == 0 and height * width != shape.height * shape.width:
                order = Reorder(kind="reorg", shape=sizes, stride=stride, reverse=bool(reverse))
                if np.array_equal(order.indices, places.reshape(-1)):
                    return section, {"stride": stride, **({"reverse": 1} if reverse else {})}
    return None
