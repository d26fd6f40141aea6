"""What an ONNX tensor is while a graph is read: values of a layer, put elsewhere, a function applied to each.

Both are kept open until they are needed. Where a tensor's values come from is an array of indices, on which operators
that only move values are evaluated as they stand: whatever they amount to (nothing, a flattening, channels last,
shuffled channels, zeros around an image) shows in the indices. What a chain of operators makes of single values is kept
as its values at many points, and compared with the activations that clprune has.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.darknet.reorder import Reorder
from clprune.errors import UsageError
from clprune.geometry import Shape

Indices = npt.NDArray[np.int32]
Samples = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

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


def once(make: Callable[[], Feature]) -> Callable[[], Feature]:
    """What `make` gives, or the UsageError that it raises, kept: two inputs of a node may ask for the same, and so
    twice as often after each of a row of such nodes.
    """

    @functools.cache
    def outcome() -> Feature | UsageError:
        try:
            return make()
        except UsageError as error:
            return error

    def give() -> Feature:
        found = outcome()
        if isinstance(found, UsageError):
            raise found
        return found

    return give


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


def is_square(samples: Samples) -> bool:
    """Whether they are the squares of `PROBES`."""
    with np.errstate(invalid="ignore"):
        return bool((np.abs(samples - PROBES**2) <= _TOLERANCE * (1 + PROBES**2)).all())


def exponential_of(samples: Samples) -> tuple[float, float] | None:
    """(a, b) where they are `a * elu(x) + b * relu(x)`: an ELU of another alpha, or a SELU."""
    low, one = float(samples[PROBES == -1][0]), float(samples[PROBES == 1][0])
    share = low / np.expm1(-1)
    with np.errstate(over="ignore"):
        made = share * activate("elu", PROBES) + (one - share) * np.maximum(PROBES, 0)
    return (share, one - share) if share and np.isfinite(one) and _are_close(samples, made) else None


@dataclass(frozen=True, kw_only=True)
class BrokenLine:
    """`slope * x + offset`, plus `change * max(x - place, 0)` for each of `corners` (place, change)."""

    slope: float
    offset: float
    corners: tuple[tuple[float, float], ...]


def broken_line_of(samples: Samples) -> BrokenLine | None:
    """The line with one to four corners on which they lie."""
    order = np.argsort(PROBES)
    x, y = PROBES[order], samples[order]
    if not np.isfinite(y).all():
        return None
    slopes = np.diff(y) / np.diff(x)
    same = np.abs(np.diff(slopes)) <= 1e-5 * (1 + np.abs(slopes[1:]))
    # three points on a line make one, (slope, offset); of neighbours that are alike the middle one counts: those at the
    # ends begin or end at a corner, which constants rounded to float32 move a little
    alike: list[list[tuple[float, float]]] = []
    for index in np.flatnonzero(same):
        line = (float(slopes[index]), float(y[index] - slopes[index] * x[index]))
        if not alike or not np.allclose(line, alike[-1][-1], rtol=1e-4, atol=1e-4):
            alike.append([])
        alike[-1].append(line)
    lines = [group[len(group) // 2] for group in alike]
    corners = []
    for (slope, offset), (next_slope, next_offset) in itertools.pairwise(lines):
        if slope == next_slope:
            return None
        corners.append(((offset - next_offset) / (next_slope - slope), next_slope - slope))
    if not 1 <= len(corners) <= 4:
        return None
    found = BrokenLine(slope=lines[0][0], offset=lines[0][1], corners=tuple(corners))
    made = found.slope * PROBES + found.offset
    for place, change in found.corners:
        made = made + change * np.maximum(PROBES - place, 0)
    return found if _are_close(made, samples) else None


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Strided:
    """Every so manieth row and column of some channels, from a row and column of each on."""

    stride_y: int
    stride_x: int
    channels: Indices
    rows: Indices
    columns: Indices


def strided_of(places: Indices, shape: Shape) -> Strided | None:
    """What `[1, C', H', W']` takes of a layer's output; None where that is something else."""
    height, width = places.shape[2:]
    channels, corners = np.divmod(places[0, :, 0, 0], shape.height * shape.width)
    rows, columns = np.divmod(corners, shape.width)
    stride_y = int(places[0, 0, 1, 0] - places[0, 0, 0, 0]) // shape.width if height > 1 else 1
    stride_x = int(places[0, 0, 0, 1] - places[0, 0, 0, 0]) if width > 1 else 1
    if min(stride_y, stride_x) < 1 or (places < 0).any():
        return None
    y = rows[:, None, None] + stride_y * np.arange(height)[:, None]
    expected = (channels[:, None, None] * shape.height + y) * shape.width + columns[:, None, None]
    if not np.array_equal(places[0], expected + stride_x * np.arange(width)):
        return None
    return Strided(stride_y=stride_y, stride_x=stride_x, channels=channels, rows=rows, columns=columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reorg:
    """Space to depth or depth to space of a layer's output: its section and keys, and which channels are taken `before`
    or, of its own output, `after` it; both None where all are, as they come.
    """

    section: str
    options: dict[str, Any]
    before: Indices | None = None
    after: Indices | None = None


def reorg_of(places: Indices, shape: Shape) -> Reorg | None:
    """What `[1, C', H', W']` is of a layer's output; None for no space to depth, or depth to space."""
    channels, height, width = places.shape[1:]
    stride = max(shape.height // height, height // shape.height, 1)
    result = Shape(channels=channels, height=height, width=width)
    if places.size != shape.elements or (places < 0).any() or height * width == shape.height * shape.width:
        return None
    given = places.reshape(channels, -1)
    found: list[Reorg] = []
    for section, sizes in (("reorg", shape), ("reorg3d", result)):
        for reverse in (False, True) if sizes.channels % stride**2 == shape.channels % stride**2 == 0 else ():
            order = Reorder(kind="reorg", shape=sizes, stride=stride, reverse=reverse).indices.reshape(channels, -1)
            options: dict[str, Any] = {"stride": stride, **({"reverse": 1} if reverse else {})}
            before, after = _channels_before(order, given, shape), _channels_after(order, given)
            if after is not None and np.array_equal(after, np.arange(channels)):
                return Reorg(section=section, options=options)
            if before is not None or after is not None:
                found.append(Reorg(section=section, options=options, before=before, after=after))
    return next(iter(found), None)


def _channels_before(order: Array, given: Array, shape: Shape) -> Indices | None:
    """Which channels of `shape`, taken first, make `given` of `order`."""
    plane = shape.height * shape.width
    found = np.zeros(shape.channels, np.int32)
    found[order // plane] = given // plane
    return found if np.array_equal(found[order // plane] * plane + order % plane, given) else None


def _channels_after(order: Array, given: Array) -> Indices | None:
    """Which rows of `order` are those of `given`."""
    row_of = {int(row[0]): number for number, row in enumerate(order)}
    found = np.array([row_of.get(int(first), -1) for first in given[:, 0]], np.int32)
    return found if (found >= 0).all() and np.array_equal(order[found], given) else None
