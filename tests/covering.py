"""A small sample that stands for a kernel's whole space: every value of every parameter, pairs too where asked for.

Nothing here knows a kernel: what is in the catalogue, with whatever parameters, is covered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune.device import DeviceInfo
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from tests.imaginary import imaginary_device

#: What may be removed from a layer's weights: nothing; units that tiles divide, straddle or share; everything.
WORKLOADS = (
    Workload(seed=1),
    Workload(seed=2, kept_share=0.25, unit_rows=8),
    Workload(seed=3, kept_share=0.5, unit_rows=3),
    Workload(seed=4, kept_share=0.0, unit_rows=4),
    Workload(seed=5, kept_share=0.1, unit_rows=1),
)

_DRAWS = 3000  # random tiles per operation of a space too large to go through
_POOL = 250  # valid ones that are kept to choose from
_OPERATION, _WORKLOAD = "operation", "workload"


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One run: a tile, an operation (by its place among the kernel's sample operations), and what is removed."""

    operation_number: int
    operation: Any
    workload: Workload
    tile: Any

    def __str__(self) -> str:
        return f"{self.tile} on {self.operation.key}, {self.workload.key}"


def roomy_device() -> DeviceInfo:
    """A device with limits as a large GPU has them: no value of any parameter is out of its reach."""
    return imaginary_device(max_work_group_size=1024, max_work_item_sizes=(1024, 1024, 1024), local_mem_bytes=64 * 1024)


def covering_points(
    kernel: Kernel[Any, Any],
    device: DeviceInfo,
    *,
    pairs: bool = False,
    longest_source: int | None = None,
    seed: int = 0,
) -> list[Point]:
    """Points that are valid on `device`: the kernel's named tiles, and others until every value occurs.

    Operations and workloads count as parameters too. `pairs`: also every pair of values that can occur together, as
    far as a random sample of the space shows. Each operation runs with its default and its safe tile. With
    `longest_source`, in characters, tiles other than the named ones for GPUs whose source is longer are left out: some
    compilers are slow on them.
    """
    pool = list(_pool(kernel, device, np.random.default_rng(seed)))
    if longest_source is not None:
        pool = [
            point
            for point in pool
            if point.tile in kernel.gpu_tiles or len(kernel.source(point.tile, point.operation)) <= longest_source
        ]
    goals: dict[Any, int] = {}
    matrix = np.zeros((len(pool), 20_000), np.bool_)
    for row, point in enumerate(pool):
        for goal in _goals(kernel, point, pairs=pairs):
            matrix[row, goals.setdefault(goal, len(goals))] = True
    matrix = matrix[:, : len(goals)]
    chosen = _named(kernel, pool)
    open_goals = ~matrix[chosen].any(axis=0)
    while open_goals.any():
        best = int((matrix & open_goals).sum(axis=1).argmax())
        chosen.append(best)
        open_goals &= ~matrix[best]
    return [pool[row] for row in chosen]


def values_missed(kernel: Kernel[Any, Any], points: list[Point]) -> list[tuple[str, Any]]:
    """Values of parameters that occur in no point."""
    met = {(name, getattr(point.tile, name)) for point in points for name in kernel.parameters}
    return [(name, value) for name, values in kernel.parameters.items() for value in values if (name, value) not in met]


def gpu_tiles_missed(kernel: Kernel[Any, Any], device: DeviceInfo, points: list[Point]) -> list[Any]:
    """Named tiles for GPUs that are valid on `device` and occur in no point."""
    met = {point.tile for point in points}
    operations = kernel.sample_operations()
    valid = [t for t in kernel.gpu_tiles if any(kernel.rejection(t, o, device) is None for o in operations)]
    return [tile for tile in valid if tile not in met]


def has_weights(kernel: Kernel[Any, Any]) -> bool:
    """What is removed from the weights makes a difference to this kernel."""
    operation = kernel.sample_operations()[-1]
    samples = [kernel.sample(operation, Workload(kept_share=share)) for share in (1.0, 0.0)]
    return not _equal_samples(*samples)


def _equal_samples(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(one.inputs[name], other.inputs[name]) for name in one.inputs)


def _pool(kernel: Kernel[Any, Any], device: DeviceInfo, rng: np.random.Generator) -> Iterator[Point]:
    """Named tiles first, then valid ones from all over the space; workloads in turn."""
    workloads = itertools.cycle(WORKLOADS if has_weights(kernel) else WORKLOADS[:1])
    for number, operation in enumerate(kernel.sample_operations()):
        named = [
            kernel.default_tile(operation, device),
            kernel.safe_tile(operation),
            *kernel.cpu_tiles,
            *kernel.gpu_tiles,
        ]
        valid = [tile for tile in named if kernel.rejection(tile, operation, device) is None]
        for tile in _drawn(kernel, rng):
            if len(valid) >= _POOL:
                break
            if kernel.rejection(tile, operation, device) is None:
                valid.append(tile)
        for tile in dict.fromkeys(valid):
            yield Point(operation_number=number, operation=operation, workload=next(workloads), tile=tile)


def _drawn(kernel: Kernel[Any, Any], rng: np.random.Generator) -> Iterator[Any]:
    """The whole space in random order, or random tiles where it is too large, each value in turn held fixed."""
    names, values = list(kernel.parameters), list(kernel.parameters.values())
    sizes = [len(choices) for choices in values]
    if np.prod(sizes) <= _DRAWS:
        for place in rng.permutation(int(np.prod(sizes))):
            digits = np.unravel_index(int(place), sizes)
            yield kernel.tile_type(**{name: values[i][int(digits[i])] for i, name in enumerate(names)})
        return
    held = itertools.cycle((name, value) for name in names for value in kernel.parameters[name])
    for draw, (name, value) in zip(rng.random((_DRAWS, len(sizes))), held, strict=False):
        chosen = {other: values[i][int(draw[i] * sizes[i])] for i, other in enumerate(names)}
        yield kernel.tile_type(**{**chosen, name: value})


def _goals(kernel: Kernel[Any, Any], point: Point, *, pairs: bool) -> Iterator[Any]:
    factors = [(name, getattr(point.tile, name)) for name in kernel.parameters]
    factors += [(_OPERATION, point.operation_number), (_WORKLOAD, point.workload.seed)]
    yield from factors
    if pairs:
        yield from itertools.combinations(factors, 2)


def _named(kernel: Kernel[Any, Any], pool: list[Point]) -> list[int]:
    """Rows of the default and safe tile of each operation, and of each named tile once, spread over operations."""
    chosen: dict[int, None] = {}
    uses: dict[int, int] = {}
    first_of: dict[int, int] = {}
    for row, point in enumerate(pool):
        if first_of.setdefault(point.operation_number, row) == row or point.tile == kernel.safe_tile(point.operation):
            chosen[row] = None
    for tile in dict.fromkeys([*kernel.cpu_tiles, *kernel.gpu_tiles]):
        rows = [row for row, point in enumerate(pool) if point.tile == tile]
        if rows:
            row = min(rows, key=lambda row: uses.get(pool[row].operation_number, 0))
            uses[pool[row].operation_number] = uses.get(pool[row].operation_number, 0) + 1
            chosen[row] = None
    return list(chosen)
