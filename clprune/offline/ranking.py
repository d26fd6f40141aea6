"""Estimated time of a tile on a GPU that is not there, to order tiles by: good for a ranking, not for a promise.

A roofline with latency, per compute unit. A unit works through g = ceil(work-groups / units) work-groups, as many at
once as fit, so in r = ceil(g / resident) rounds. One column of K of all of them takes the longest of

- multiply-adds: g * warps * instructions that hold them (packed ones hold two) * warp size / lanes,
- issue: g * warps * instructions / instructions per clock,
- loads: g * warps * clocks of the cache and of local memory (their sum where they share a path); uncoalesced loads
  take a clock per cache line,
- latency: r times the chain of one warp, that is its own instructions and the latency of its loads, which is paid once
  per turn of the inner loop; with staging, the whole work-group's turn and the latency of the staged loads between
  barriers. Other work-groups hide it.

What the longest of these alone would leave of the card's peak is the predicted share of it (`Estimate.share_of_peak`):
the least of the limits by multiply-adds, issue, local memory, first-level cache, shared cache, memory and latency.

"The longest" is the 3-norm, since nothing overlaps perfectly. Both roundings are where small layers lose. The result is
the longest (again) of that, the bytes through the shared cache and the bytes of global memory over their bandwidths.

Sources: Williams, Waterman, Patterson, "Roofline" (CACM 2009); Hong, Kim, "An analytical model for a GPU architecture
with memory-level and thread-level parallelism awareness" (ISCA 2009); Volkov, "Understanding Latency Hiding on GPUs"
(Berkeley, 2016).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clprune.architecture import Architecture
from clprune.errors import ConfigurationRejected, UsageError
from clprune.geometry import ceil_div
from clprune.kernels.base import Offer
from clprune.kernels.demand import Demand
from clprune.offline.architectures import imaginary_device
from clprune.offline.compilers import Toolchain, compile_kernel
from clprune.offline.occupancy import Occupancy, occupancy
from clprune.offline.report import Report

_NORM = 3.0
_LOCAL_LATENCY_CLOCKS = 30

_SWEEP = "sweep"

#: Tiles per problem that are worth compiling: the best by the guess of their registers.
COMPILED = 12

MULTIPLY_ADDS, ISSUE, LOADS, LATENCY, SHARED_CACHE, MEMORY = (
    "multiply-adds", "issue", "loads", "latency", "shared cache", "memory",
)  # fmt: skip
LOCAL_MEMORY, CACHE = "local memory", "first-level cache"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated milliseconds of one launch, what bounds them, and how full the compute units are.

    `limits`: milliseconds that each resource would take on its own.
    """

    time_ms: float
    bound: str
    occupancy: Occupancy
    limits: Mapping[str, float]

    @property
    def limit(self) -> str:
        """The resource that takes longest."""
        return max(self.limits, key=self.limits.__getitem__)

    def share_of_peak(self, architecture: Architecture, multiply_adds: float) -> float:
        """What is left of the card's peak where nothing but `limit` slows the launch, which has so many to do."""
        return multiply_adds / architecture.multiply_adds_per_s / (1e-3 * self.limits[self.limit])


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A tile with its estimate, and what the compiler said where it was asked."""

    tile: Any
    estimate: Estimate
    report: Report | None


def estimate(architecture: Architecture, demand: Demand, report: Report | None = None) -> Estimate:
    """Time of `demand`; with `report` its registers and instructions are the compiler's.

    Raises ConfigurationRejected when not even one work-group fits on a compute unit.
    """
    resident = occupancy(
        architecture,
        work_group_size=demand.work_group_size,
        registers=report.registers if report else demand.registers,
        scalar_registers=report.scalar_registers if report else 0,
        local_mem_bytes=max(report.local_mem_bytes, demand.local_mem_bytes) if report else demand.local_mem_bytes,
    )
    if resident.groups == 0:
        raise ConfigurationRejected(f"no work-group fits on a compute unit of {architecture.name}: {resident.limit}")
    clocks = _column_clocks(architecture, demand, report)
    groups = ceil_div(demand.groups, architecture.compute_units)
    rounds = ceil_div(groups, resident.groups)
    parts = {name: groups * part for name, part in clocks.by_resource.items()} | {LATENCY: rounds * clocks.chain}
    limits_s = {name: demand.columns * part / architecture.clock_hz for name, part in parts.items()}
    loads_s = demand.columns * groups / architecture.clock_hz
    limits_s |= {name: loads_s * part for name, part in clocks.loads.items()}
    del limits_s[LOADS]  # which consists of what `loads` names
    # The beginning and the end of every round wait for memory once each.
    waiting = 2 * rounds * architecture.memory_latency_clocks
    unit_s = (demand.columns * _longest(*parts.values()) + waiting) / architecture.clock_hz
    bounds = {
        max(parts, key=parts.__getitem__): unit_s,
        SHARED_CACHE: demand.shared_cache_bytes / architecture.shared_cache_bytes_per_s,
        MEMORY: demand.memory_bytes / architecture.global_bytes_per_s,
    }
    limits_s[LATENCY] += waiting / architecture.clock_hz
    limits_s |= {name: bounds[name] for name in (SHARED_CACHE, MEMORY)}
    return Estimate(
        time_ms=_longest(*bounds.values()) * 1e3,
        bound=max(bounds, key=bounds.__getitem__),
        occupancy=resident,
        limits={name: 1e3 * limit_s for name, limit_s in limits_s.items()},
    )


def _longest(*values: float) -> float:
    """A soft maximum: two equal parts take a quarter longer than one alone."""
    return float(sum(value**_NORM for value in values) ** (1 / _NORM))


@dataclass(frozen=True, kw_only=True)
class _ColumnClocks:
    """Clocks per column of K: of one work-group for each of a unit's resources, and of the chain that waits.

    `loads` are those of local memory and of the cache, together where they share a path.
    """

    by_resource: dict[str, float]
    loads: dict[str, float]
    chain: float


def _column_clocks(architecture: Architecture, demand: Demand, report: Report | None) -> _ColumnClocks:
    warps = ceil_div(demand.work_group_size, architecture.warp_size)
    instructions = demand.fmas + demand.load_instructions + demand.other_instructions
    issued = instructions
    columns_per_turn = float(demand.columns_per_turn)
    local_bytes, packed = float(demand.local_bytes), 1.0
    if report is not None and report.loop.fmas:
        columns_per_turn = max(1.0, report.loop.fmas / demand.fmas)
        instructions = report.loop.instructions / columns_per_turn
        issued = report.loop.vector_instructions / columns_per_turn
        local_bytes = report.loop.local_bytes / columns_per_turn
        packed = report.loop.fmas / (report.loop.fma_instructions + report.loop.matrix_instructions)
    local_clocks = demand.local_clocks or architecture.warp_size * local_bytes / architecture.local_bytes_per_clock
    if architecture.has_one_load_path:
        load_clocks = demand.cache_clocks + local_clocks
        loads = {f"{LOCAL_MEMORY} and {CACHE}": warps * load_clocks}
    else:
        load_clocks = max(demand.cache_clocks, local_clocks)
        loads = {LOCAL_MEMORY: warps * local_clocks, CACHE: warps * demand.cache_clocks}
    by_resource = {
        MULTIPLY_ADDS: warps * demand.fmas / packed * architecture.warp_size / architecture.fma_lanes,
        ISSUE: warps * issued / architecture.issue_per_clock,
        LOADS: warps * load_clocks,
    }
    # An offset is loaded first, then what lies there.
    offset_latency = _LOCAL_LATENCY_CLOCKS if demand.staged_columns else architecture.cache_latency_clocks
    latency = architecture.memory_latency_clocks if demand.streams else architecture.cache_latency_clocks
    chain = (offset_latency + latency) / columns_per_turn
    chain += instructions * architecture.schedulers / architecture.issue_per_clock
    if demand.staged_columns:
        chain = max(chain, *by_resource.values()) + architecture.memory_latency_clocks / demand.staged_columns
    return _ColumnClocks(by_resource=by_resource, loads=loads, chain=chain)


def preselect(architecture: Architecture, offer: Offer, *, count: int = COMPILED) -> list[Ranked]:
    """The `count` best tiles of the whole space by a guess of their registers; no compiler is needed.

    Raises ConfigurationRejected when no tile fits.
    """
    device = imaginary_device(architecture)
    ranked = []
    # Sweeps change no register: they are left to `_best_sweep`.
    for tile in offer.kernel.space(device, **{_SWEEP: 0}):
        if offer.rejection(tile, device) is None:
            with contextlib.suppress(ConfigurationRejected):
                ranked.append(_ranked(architecture, offer, tile))
    if not ranked:
        raise ConfigurationRejected(
            f"{offer.kernel.name}: no tile for {offer.operation.key} fits on {architecture.name}"
        )
    return [_best_sweep(architecture, offer, item) for item in sorted(ranked, key=_time_ms)[:count]]


def _ranked(architecture: Architecture, offer: Offer, tile: Any, report: Report | None = None) -> Ranked:
    """A tile with its estimate. Raises ConfigurationRejected where it does not fit."""
    demand = demand_of(offer, tile, architecture)
    return Ranked(tile=tile, estimate=estimate(architecture, demand, report), report=report)


def demand_of(offer: Offer, tile: Any, architecture: Architecture) -> Demand:
    """What `tile` asks for. Raises UsageError for a kernel that does not say."""
    demand = offer.kernel.demand(tile, offer.operation, offer.workload, architecture)
    if demand is None:
        name = offer.kernel.name
        raise UsageError(f"kernel {name!r}: it does not say what its tiles ask of a GPU: tune it on a device")
    return demand


def _best_sweep(architecture: Architecture, offer: Offer, item: Ranked) -> Ranked:
    """The same tile in the order of work-groups that reads least from global memory."""
    device = imaginary_device(architecture)
    tiles = [dataclasses.replace(item.tile, **{_SWEEP: sweep}) for sweep in offer.kernel.parameters.get(_SWEEP, ())]
    valid = [tile for tile in tiles if offer.rejection(tile, device) is None]
    return min((item, *(_ranked(architecture, offer, tile) for tile in valid)), key=_time_ms)


def _time_ms(item: Ranked) -> float:
    return item.estimate.time_ms


class Compiler:
    """Compiles tiles for one architecture, several at a time, each source once."""

    def __init__(self, toolchain: Toolchain, architecture: Architecture, *, workers: int | None = None) -> None:
        self.architecture = architecture
        self._toolchain = toolchain
        self._workers = workers or os.cpu_count() or 1
        self._reports: dict[str, Report] = {}

    def reports(self, offer: Offer, tiles: Sequence[Any]) -> list[Report]:
        """One report per tile. Raises MissingDependencyError, BuildError."""
        sources = [offer.kernel.source(tile, offer.operation) for tile in tiles]
        new = [source for source in dict.fromkeys(sources) if source not in self._reports]
        options = offer.kernel.build_options(imaginary_device(self.architecture))
        with concurrent.futures.ThreadPoolExecutor(self._workers) as pool:
            self._reports.update(zip(new, pool.map(partial(self._compile, options), new), strict=True))
        return [self._reports[source] for source in sources]

    def _compile(self, options: Sequence[str], source: str) -> Report:
        return compile_kernel(self._toolchain, self.architecture, source=source, options=options)


def rank(compiler: Compiler, offer: Offer, *, tiles: Sequence[Any] = ()) -> list[Ranked]:
    """Tiles ordered by estimated time, fastest first: the preselected ones, the kernel's own for GPUs, and `tiles`.

    A tile that spills or uses private memory is left out. Raises MissingDependencyError, BuildError, and
    ConfigurationRejected when nothing is left.
    """
    architecture = compiler.architecture
    device = imaginary_device(architecture)
    selected = [item.tile for item in preselect(architecture, offer)]
    own = [tile for tile in (*offer.kernel.own_tiles(device), *tiles) if offer.rejection(tile, device) is None]
    unique = list(dict.fromkeys([*selected, *own]))
    ranked = []
    for tile, report in zip(unique, compiler.reports(offer, unique), strict=True):
        if not report.uses_private_memory:
            with contextlib.suppress(ConfigurationRejected):
                ranked.append(_ranked(architecture, offer, tile, report))
    if not ranked:
        problem = f"{offer.kernel.name}, {offer.operation.key}"
        raise ConfigurationRejected(f"{problem}: every tile spills or does not fit on {architecture.name}")
    return sorted(ranked, key=_time_ms)
