"""What a device can do at most, measured: the yardsticks beside which every other figure is put.

A probe is built once and may be run many times, in turns with what is compared with it: clocks change from one moment
to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clprune.bandwidth import Reader
from clprune.opencl import BoundKernel, Session
from clprune.quirks import wants_explicit_vectors
from clprune.rendering import render

#: A run must be at least this long for the clock to read it well.
_SHORTEST_RUN_SECONDS = 0.02
_MOST_TURNS = 2**28

#: Independent multiply-adds of one work-item: enough to hide the latency of each.
_CHAINS = 12


@dataclass(frozen=True, kw_only=True)
class Limits:
    """fp32 gigaflops in registers, and GB/s read from memory."""

    peak_gflops: float
    bandwidth_gbytes_per_s: float


class PeakProbe:
    """Chains of fused multiply-adds in registers: the arithmetic limit. Raises BuildError, LaunchError."""

    def __init__(self, session: Session) -> None:
        is_cpu = wants_explicit_vectors(session.info)
        self._items = session.info.compute_units * (4 if is_cpu else 4096)
        self._group_n = 1 if is_cpu else 64
        self._session = session
        self._runs = [self._calibrated(vector_width) for vector_width in ((8, 16) if is_cpu else (1, 4))]

    def gflops(self) -> float:
        """The better of two vector widths, one run each."""
        return max(flops / run.timed() / 1e9 for run, flops in self._runs)

    def _calibrated(self, vector_width: int) -> tuple[BoundKernel, int]:
        """A run that is long enough, and its operations."""
        source = render("peak", {"vector_width": vector_width, "chains": _CHAINS, "group_n": self._group_n})
        kernel = self._session.kernel(self._session.build(source), "peak")
        y = self._session.empty_buffer(4 * self._items * vector_width)
        turns = 1000
        while True:
            bound = self._session.bind(
                kernel,
                global_size=(self._items,),
                local_size=(self._group_n,),
                arguments=(y, np.int32(turns), np.float32(0.999)),
            )
            seconds = min(bound.timed() for _ in range(3))
            if seconds > _SHORTEST_RUN_SECONDS or turns > _MOST_TURNS:
                return bound, 2 * _CHAINS * vector_width * self._items * turns
            turns *= 4


class BandwidthProbe:
    """Sums over a buffer far larger than the caches: the limit of reading. Raises BuildError, LaunchError."""

    def __init__(self, session: Session) -> None:
        info, reader = session.info, Reader(session)
        size_bytes = min(info.max_alloc_bytes, info.global_mem_bytes // 4, 2**28)
        self._reading = reader.reading(session.zeros(size_bytes))

    def gbytes_per_s(self) -> float:
        """Of one run."""
        return self._reading.read_bytes / self._reading.run.timed() / 1e9


def measure_limits(session: Session, *, runs: int = 6) -> Limits:
    """Both limits, best of several runs; takes about a second."""
    peak, bandwidth = PeakProbe(session), BandwidthProbe(session)
    return Limits(
        peak_gflops=max(peak.gflops() for _ in range(runs)),
        bandwidth_gbytes_per_s=max(bandwidth.gbytes_per_s() for _ in range(runs)),
    )
