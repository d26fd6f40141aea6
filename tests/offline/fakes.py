"""A compiler without any compiler: plausible figures at once, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clprune.architecture import Architecture
from clprune.kernels.base import Kernel, Workload
from clprune.offline.compilers import Toolchain
from clprune.offline.ranking import Compiler, demand_of
from clprune.offline.report import InnerLoop, Report

NOTHING = Toolchain(clang=None, libclc=None, rocm=None, ptxas=None)


class FakeCompiler(Compiler):
    """Reports the registers that `demand` guesses; tiles in `spilling` (None: all of them) spill."""

    def __init__(self, architecture: Architecture, *, spilling: set[Any] | None = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__(NOTHING, architecture)
        self._spilling = spilling

    def reports(self, kernel: Kernel[Any, Any], tiles: Sequence[Any], operation: Any) -> list[Report]:
        return [self._report(kernel, tile, operation) for tile in tiles]

    def _report(self, kernel: Kernel[Any, Any], tile: Any, operation: Any) -> Report:
        demand = demand_of(kernel, tile, operation, Workload(), self.architecture)
        spills = self._spilling is None or tile in self._spilling
        return Report(
            registers=demand.registers,
            scalar_registers=0,
            local_mem_bytes=demand.local_mem_bytes,
            spill_bytes=8 if spills else 0,
            scratch_bytes=8 if spills else 0,
            loop=InnerLoop(),
        )
