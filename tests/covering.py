"""A small sample that stands for a kernel's whole space: every value of every parameter, pairs too where asked for.

Nothing here knows a kernel: what is in the catalogue, with whatever parameters, is covered.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from tests.imaginary import imaginary_device

#: What may be removed from a layer's weights: nothing; units that tiles divide, straddle or share; everything.
WORKLOADS = (
    Workload(seed=1),
    Workload(seed=2, kept_share=0.25, unit_rows=8),
    Workload(seed=3, kept_share=0.5, unit_rows=3),
    Workload(seed=4, kept_share=0.0, unit_rows=4),
    Workload(seed=5, kept_share=0.1, unit_rows=1),
)

#: The named tiles of a kernel are dealt into four hands, of which drivers for CPUs hold two neighbouring ones each: see
#: `dealt_gpu_tiles` and `_of_operations`.
HANDS = (0, 1, 2, 3)

#: Of a kernel's named tiles for GPUs, the best guesses first, so many run under two of the drivers for CPUs.
FIRST_TILES = 12

_DRAWS = 3000  # random tiles per operation of a space too large to go through
_POOL = 250  # valid ones that are kept to choose from
_LAST = 1e9  # times as much as it costs, where a point is the last to be taken
_TOGETHER = 16  # programs built as one: most drivers need longer for a program than for its lines
_RENDERED = 300  # points whose source is looked at, to estimate how long the others are
_PROGRAM_CHARACTERS = 5000  # that take as long to compile as a driver needs for a program before its first line
_INTERPRETED = 16  # floating-point operations in the time of a character
_ITEM = 100  # of them in the time of a work-item that has next to none
_MANY_CHARACTERS = 35_000  # times lanes: as long, where vectors are taken apart
_USUAL_LANES = 8  # of a source whose characters count once where they are limited
_VECTOR_TYPE = re.compile(r"\b(?:float|u?int|u?short|u?char)(\d+)\b")
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


@functools.cache
def covering_points(
    kernel: Kernel[Any, Any],
    device: DeviceInfo,
    *,
    pairs: bool = False,
    hands: tuple[int, ...] = HANDS,
    longest_source: int | None = None,
    left_out: tuple[tuple[tuple[str, Any], ...], ...] = (),
    interprets: bool = False,
    seed: int = 0,
) -> tuple[Point, ...]:
    """Points that are valid on `device`: what `hands` hold of the kernel's named tiles, and others until every value
    occurs, of those that compile quickly where there is a choice.

    Operations and workloads count as parameters too: each operation runs with its default or its safe tile, or both
    (see `_of_operations`). `pairs`: also every pair of values, of a value and a workload too, that can occur together
    in a tile that a search on `device` would try, as far as a random sample of the space shows. With `longest_source`,
    in characters (see `_length`), tiles other than the named ones for GPUs whose source is longer are left out where
    shorter ones have their values: some compilers are slow on them. So are, always, tiles that have all values of one
    of `left_out`. Where a driver `interprets`, small operations are quick.
    """
    rng = np.random.default_rng(seed)

    def is_right(point: Point) -> bool:
        return not any(all(getattr(point.tile, name) == value for name, value in values) for values in left_out)

    def work(point: Point) -> float:
        return _interpreted(kernel, point) if interprets else 0.0

    @functools.cache
    def source(point: Point) -> str:
        return kernel.source(point.tile, point.operation)

    def is_short(point: Point, length: Callable[[str], float] = _length) -> bool:
        if longest_source is None or point.tile in kernel.gpu_tiles:
            return True
        return length(source(point)) <= longest_source

    def cost(point: Point) -> float:
        return _cost(source(point), device, work(point)) * (1 if is_short(point) else _LAST)

    pool = [point for point in _pool(kernel, device, rng) if is_right(point)]
    goals = {goal: None for point in pool for goal in _goals(kernel, point, device, pairs=pairs)}
    chosen = [row for row in _of_operations(kernel, pool, device, hands) if is_short(pool[row], len)]
    chosen += _spread(pool, dealt_gpu_tiles(kernel, hands), chosen, work)
    chosen += [row for row in _spread(pool, _dealt(kernel.cpu_tiles, hands), chosen, work) if is_short(pool[row])]
    if pairs:
        pool += [point for point in _low_points(kernel, device, rng) if is_right(point)]
    costs = _costs(kernel, device, pool, rng, work=work, rendered=_RENDERED if pairs else _RENDERED // 3)
    matrix = _goals_met(kernel, pool, device, list(goals), pairs=pairs)
    chosen += _cheapest_rows(matrix, chosen, costs, cost_of=lambda row: cost(pool[row]))
    return tuple(pool[row] for row in chosen)


def _cheapest_rows(
    matrix: npt.NDArray[np.bool_],
    chosen: Sequence[int],
    estimates: npt.NDArray[np.float64],
    *,
    cost_of: Callable[[int], float],
) -> list[int]:
    """Rows that meet what those chosen leave open, one after the other the one that meets most for its cost.

    Which is the best by its estimate has one that is too low, perhaps: only then its cost is asked for.
    """
    costs, is_estimated = estimates.copy(), np.ones(len(estimates), np.bool_)
    is_open = ~matrix[list(chosen)].any(axis=0)
    gains = matrix[:, is_open].sum(axis=1)
    added: list[int] = []
    while is_open.any():
        best = int((gains / costs).argmax())
        if is_estimated[best]:
            is_estimated[best], costs[best] = False, cost_of(best)
            continue
        added.append(best)
        new = matrix[best] & is_open
        gains -= matrix[:, new].sum(axis=1)
        is_open &= ~new
    return _needed_rows(matrix, chosen, added, costs)


def _needed_rows(
    matrix: npt.NDArray[np.bool_], chosen: Sequence[int], added: Sequence[int], costs: npt.NDArray[np.float64]
) -> list[int]:
    """Those of `added` without which a goal would be open: what came later may have made an earlier one needless."""
    times = matrix[[*chosen, *added]].sum(axis=0)
    needless = set()
    for row in sorted(added, key=lambda row: -costs[row]):
        if (times[matrix[row]] > 1).all():
            times -= matrix[row]
            needless.add(row)
    return [row for row in added if row not in needless]


def in_built_groups(session: Session, kernel: Kernel[Any, Any], points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """`points` in groups whose programs have been built as one, as a Runner does; see `Session.build_together`."""
    options = kernel.build_options(session.info)
    for first in range(0, len(points), _TOGETHER):
        group = points[first : first + _TOGETHER]
        session.build_together((kernel.source(point.tile, point.operation), options) for point in group)
        yield group


def values_missed(kernel: Kernel[Any, Any], points: Sequence[Point]) -> list[tuple[str, Any]]:
    """Values of parameters that occur in no point."""
    met = {(name, getattr(point.tile, name)) for point in points for name in kernel.parameters}
    return [(name, value) for name, values in kernel.parameters.items() for value in values if (name, value) not in met]


def dealt_gpu_tiles(kernel: Kernel[Any, Any], hands: tuple[int, ...]) -> list[Any]:
    """The named tiles for GPUs that `hands` hold: each of the first is in one of `HANDS`.

    Where a kernel names very many, the later ones, which devices seldom take, lie between two neighbouring hands each,
    and belong to who holds both.
    """
    first, later = kernel.gpu_tiles[:FIRST_TILES], kernel.gpu_tiles[FIRST_TILES:]
    return [*_dealt(first, hands), *_dealt(later, tuple(hand for hand in hands if (hand + 1) % len(HANDS) in hands))]


def _dealt(tiles: Sequence[Any], hands: tuple[int, ...]) -> list[Any]:
    """Those of `tiles` that `hands` hold where each in turn goes to one of `HANDS`."""
    return [tile for number, tile in enumerate(tiles) if number % len(HANDS) in hands]


def gpu_tiles_missed(
    kernel: Kernel[Any, Any], device: DeviceInfo, points: Sequence[Point], *, hands: tuple[int, ...] = HANDS
) -> list[Any]:
    """Named tiles for GPUs that `hands` hold, are valid on `device` and occur in no point."""
    met = {point.tile for point in points}
    operations = kernel.sample_operations()
    valid = [
        t for t in dealt_gpu_tiles(kernel, hands) if any(kernel.rejection(t, o, device) is None for o in operations)
    ]
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
    yield from _with_each_value(kernel, rng.random((_DRAWS, len(sizes))))


def _with_each_value(kernel: Kernel[Any, Any], draws: npt.NDArray[np.float64]) -> Iterator[Any]:
    """Tiles by numbers from 0 to 1, `[tiles, parameters]`, each value of each parameter in turn held fixed."""
    names, values = list(kernel.parameters), list(kernel.parameters.values())
    places = (draws * [len(choices) for choices in values]).astype(np.int64).tolist()  # at once: there are very many
    held = itertools.cycle((name, value) for name in names for value in kernel.parameters[name])
    for row, (name, value) in zip(places, held, strict=False):
        chosen = {other: choices[place] for other, choices, place in zip(names, values, row, strict=True)}
        chosen[name] = value
        yield kernel.tile_type(**chosen)


def _low_points(kernel: Kernel[Any, Any], device: DeviceInfo, rng: np.random.Generator) -> Iterator[Point]:
    """Valid points of mostly low values, each value in turn held fixed: their sources are short."""
    workloads = itertools.cycle(WORKLOADS if has_weights(kernel) else WORKLOADS[:1])
    for number, operation in enumerate(kernel.sample_operations()):
        tiles: dict[Any, None] = {}
        for tile in _with_each_value(kernel, rng.random((_DRAWS, len(kernel.parameters))) ** 2.5):
            if kernel.rejection(tile, operation, device) is None:
                tiles[tile] = None
            if len(tiles) == _POOL:
                break
        for tile in tiles:
            yield Point(operation_number=number, operation=operation, workload=next(workloads), tile=tile)


def _costs(
    kernel: Kernel[Any, Any],
    device: DeviceInfo,
    pool: list[Point],
    rng: np.random.Generator,
    *,
    work: Callable[[Point], float],
    rendered: int,
) -> npt.NDArray[np.float64]:
    """How long each point compiles, in characters of a source: of `rendered` it is known, for all estimated from those.

    The logarithm is taken for a sum over values, which is good for a correlation of 0.95 and more; rendering all would
    take longer than it saves.
    """
    values = [[(name, getattr(point.tile, name)) for name in kernel.parameters] for point in pool]
    factors = [[*row, (_OPERATION, point.operation_number)] for row, point in zip(values, pool, strict=True)]
    columns = {factor: column for column, factor in enumerate(dict.fromkeys(itertools.chain(*factors)))}
    table = np.zeros((len(pool), len(columns)))
    for row, own in enumerate(factors):
        table[row, [columns[factor] for factor in own]] = 1
    rows = rng.permutation(len(pool))[:rendered]
    known = [_cost(kernel.source(pool[row].tile, pool[row].operation), device, work(pool[row])) for row in rows]
    square = table[rows].T @ table[rows] + 0.3 * np.eye(len(columns))  # the ridge: factors that few points have
    estimate: npt.NDArray[np.float64] = np.exp(table @ np.linalg.solve(square, table[rows].T @ np.log(known)))
    return estimate


def _cost(source: str, device: DeviceInfo, work: float) -> float:
    """Characters to compile, or to interpret `work` in as long. Where vectors are taken apart the lanes count, and long
    blocks of them more than once.
    """
    if quirks.wants_explicit_vectors(device):
        return _PROGRAM_CHARACTERS + len(source) + work / _INTERPRETED
    return _PROGRAM_CHARACTERS * (1 + (len(source) * _lanes(source) / _MANY_CHARACTERS) ** 2)


def _interpreted(kernel: Kernel[Any, Any], point: Point) -> float:
    """Floating-point operations that take as long to interpret as `point`, as if no weight were gone: those would show
    nothing. Work-items beyond the output take their time too, and large work-groups on small outputs have many.
    """
    items = sum(math.prod(stage.launch.global_size) for stage in kernel.stages(point.tile, point.operation))
    return float(point.operation.flops + _ITEM * items)


def _length(source: str) -> float:
    """Characters; those of a source with wide vectors count more than once."""
    return len(source) * max(1.0, _lanes(source) / _USUAL_LANES)


def _lanes(source: str) -> int:
    return max([1, *(int(width) for width in _VECTOR_TYPE.findall(source))])


def _goals_met(
    kernel: Kernel[Any, Any], pool: list[Point], device: DeviceInfo, goals: list[Any], *, pairs: bool
) -> npt.NDArray[np.bool_]:
    columns = {goal: column for column, goal in enumerate(goals)}
    matrix = np.zeros((len(pool), len(goals)), np.bool_)
    for row, point in enumerate(pool):
        met = (columns.get(goal) for goal in _goals(kernel, point, device, pairs=pairs))
        matrix[row, [column for column in met if column is not None]] = True
    return matrix


def _goals(kernel: Kernel[Any, Any], point: Point, device: DeviceInfo, *, pairs: bool) -> Iterator[Any]:
    factors = [(name, getattr(point.tile, name)) for name in kernel.parameters]
    factors += [(_WORKLOAD, point.workload.seed)]
    yield from factors
    yield (_OPERATION, point.operation_number)
    if pairs and kernel.is_worth_trying(point.tile, point.operation, device):
        yield from itertools.combinations(factors, 2)


def _spread(
    pool: list[Point], tiles: Sequence[Any], chosen: Sequence[int], work: Callable[[Point], float]
) -> list[int]:
    """A row of each tile that there is and none of those chosen has, spread over operations, the quick ones first."""
    rows_of: dict[Any, list[int]] = {}
    for row, point in enumerate(pool):
        rows_of.setdefault(point.tile, []).append(row)
    uses: Counter[int] = Counter()
    added: list[int] = []
    for tile in dict.fromkeys(tiles):
        if tile in rows_of and not any(pool[row].tile == tile for row in chosen):
            added.append(min(rows_of[tile], key=lambda row: (uses[pool[row].operation_number], work(pool[row]))))
            uses[pool[added[-1]].operation_number] += 1
    return added


def _of_operations(
    kernel: Kernel[Any, Any], pool: list[Point], device: DeviceInfo, hands: tuple[int, ...]
) -> list[int]:
    """Rows of the default and the safe tile of each operation, as far as `hands` hold them.

    They lie two hands apart: of two neighbouring hands one has the one or the other.
    """
    dealt = set()
    for number, operation in enumerate(kernel.sample_operations()):
        own = (kernel.default_tile(operation, device), kernel.safe_tile(operation))
        places = (number, number + len(HANDS) // 2)
        dealt |= {(number, tile) for tile, place in zip(own, places, strict=True) if place % len(HANDS) in hands}
    return [row for row, point in enumerate(pool) if (point.operation_number, point.tile) in dealt]
