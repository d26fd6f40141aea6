"""What decides how fast a GPU computes: limits and speeds that no driver tells. No OpenCL here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

#: Banks of local memory, of one word of 4 bytes each; all architectures here have as many.
BANKS = 32

#: Bytes of a cache line; a load that touches more lines takes as many turns more.
LINE_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One GPU architecture and a card that has it. Facts in `guessed` are estimates; the others are published.

    A compute unit is NVIDIA's streaming multiprocessor and AMD's CU (half of a work-group processor on RDNA); a warp
    is AMD's wave; a scheduler is AMD's SIMD.

    `registers_per_scheduler`: 32-bit vector registers of one lane that all warps of a scheduler share, handed out in
    multiples of `register_granule`; `registers_per_item`: the most that one work-item can have.
    `scalar_registers_per_scheduler`: the same for scalar registers where they limit warps, else 0.
    `groups_per_unit`: the most work-groups of more than one warp (`has_group_limit_for_warps`: of any size).
    `local_mem_granule_bytes`, `local_mem_reserved_bytes`: what a work-group's local memory is rounded up to and
    increased by.
    `fma_lanes`: lanes of multiply-add instructions per clock and compute unit (packed ones of CDNA 2 and RDNA 3 hold
    two each: `fmas_per_lane`). `issue_per_clock`: instructions that a compute unit issues per clock.
    `cache_bytes_per_clock`, `local_bytes_per_clock`: bandwidth per compute unit of the first-level cache and of local
    memory; `has_one_load_path`: the two share it. `merges_local_loads`: lanes of a whole warp that want the same words
    of local memory take one turn together, not only those that are served in the same clock. `has_vector_loads`: a
    vector of element alignment is loaded by one instruction. `has_scalar_loads`: values that all lanes share come
    through a path of their own.
    `shared_cache_bytes` is the last cache before the memory. Latencies are in clocks.
    """

    name: str
    vendor: str
    card: str
    warp_size: int
    schedulers: int
    warps_per_scheduler: int
    groups_per_unit: int
    has_group_limit_for_warps: bool
    registers_per_scheduler: int
    registers_per_item: int
    register_granule: int
    scalar_registers_per_scheduler: int = 0
    local_mem_per_unit_bytes: int
    local_mem_per_group_bytes: int
    local_mem_granule_bytes: int
    local_mem_reserved_bytes: int
    max_work_group_size: int
    fma_lanes: int
    fmas_per_lane: int = 1
    issue_per_clock: float
    cache_bytes_per_clock: int
    local_bytes_per_clock: int
    has_one_load_path: bool
    merges_local_loads: bool
    has_vector_loads: bool
    has_scalar_loads: bool
    compute_units: int
    clock_mhz: int
    global_mem_bytes: int
    global_bytes_per_s: float
    shared_cache_bytes: int
    shared_cache_bytes_per_s: float
    cache_latency_clocks: int
    memory_latency_clocks: int
    guessed: frozenset[str] = frozenset({"cache_latency_clocks", "memory_latency_clocks", "shared_cache_bytes_per_s"})

    @property
    def warps_per_unit(self) -> int:
        """Warps that one compute unit can hold."""
        return self.schedulers * self.warps_per_scheduler

    @property
    def clock_hz(self) -> float:
        return self.clock_mhz * 1e6

    @property
    def multiply_adds_per_s(self) -> float:
        """The card's peak."""
        return self.compute_units * self.fma_lanes * self.fmas_per_lane * self.clock_hz

    def local_clocks(self, words: Sequence[int], *, width: int) -> int:
        """Clocks of local memory for one load or store of a warp, whose lanes want `width` words from `words` on: of
        all lanes that are served together the busiest bank's different words, added up.
        """
        return sum(max(Counter(word % BANKS for word in wanted).values()) for wanted in self._served(words, width))

    def bank_conflicts(self, words: Sequence[int], *, width: int) -> int:
        """How many of these clocks there are because words that are wanted together lie in the same banks."""
        spread = sum(-(-len(wanted) // BANKS) for wanted in self._served(words, width))
        return self.local_clocks(words, width=width) - spread

    def _served(self, words: Sequence[int], width: int) -> list[set[int]]:
        """The different words of lanes that are served together."""
        together = len(words) if self.merges_local_loads else self.local_bytes_per_clock // (4 * width)
        parts = [words[first : first + together] for first in range(0, len(words), together)]
        return [{word + place for word in part for place in range(width)} for part in parts]

    def load_clocks(self, *, lanes: int, width: int, stride: int = 1, value_bytes: int = 4) -> float:
        """Clocks of the first-level cache for one load of `width` values per lane, lanes `width * stride` apart.

        Where vectors need alignment (NVIDIA) the load is `width` loads of one value each, and each touches all the
        lines.
        """
        span_bytes = value_bytes * lanes * width * stride
        lines_clocks = max(1.0, span_bytes / LINE_BYTES) * LINE_BYTES / self.cache_bytes_per_clock
        values = self.warp_size / self.cache_bytes_per_clock * 4
        if self.has_vector_loads:
            return max(lines_clocks, values * max(1, width * value_bytes // 4))
        return width * max(min(lines_clocks, lanes), values)
