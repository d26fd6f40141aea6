"""A compiler without any compiler: plausible figures at once, for tests of what is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from clprune.architecture import Architecture
from clprune.kernels.base import Offer
from clprune.kernels.workload import Workload
from clprune.offline.compilers import Toolchain
from clprune.offline.loops import InnerLoop
from clprune.offline.ranking import Compiler, demand_of
from clprune.offline.report import Report

NOTHING = Toolchain(clang=None, libclc=None, rocm=None, ptxas=None)


class FakeCompiler(Compiler):
    """Reports the registers that `demand` guesses; tiles in `spilling` (None: all of them) spill."""

    def __init__(self, architecture: Architecture, *, spilling: set[Any] | None = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__(NOTHING, architecture)
        self._spilling = spilling

    def reports(self, offer: Offer, tiles: Sequence[Any]) -> list[Report]:
        return [self._report(dataclasses.replace(offer, workload=Workload()), tile) for tile in tiles]

    def _report(self, offer: Offer, tile: Any) -> Report:
        demand = demand_of(offer, tile, self.architecture)
        spills = self._spilling is None or tile in self._spilling
        return Report(
            registers=demand.registers,
            scalar_registers=0,
            local_mem_bytes=demand.local_mem_bytes,
            spill_bytes=8 if spills else 0,
            scratch_bytes=8 if spills else 0,
            loop=InnerLoop(),
        )
