"""A device's measured limits. No figure is expected: tests run on busy machines."""

from __future__ import annotations

from clprune.opencl import Session
from clprune.runner.limits import BandwidthProbe, PeakProbe, measure_limits


def test_probes_measure_again_and_again(device_context: Session) -> None:
    peak, bandwidth = PeakProbe(device_context), BandwidthProbe(device_context)
    assert all(peak.gflops() > 0 for _ in range(2))
    assert all(bandwidth.gbytes_per_s() > 0 for _ in range(2))


def test_limits(device_context: Session) -> None:
    limits = measure_limits(device_context, runs=1)
    assert limits.peak_gflops > 0
    assert limits.bandwidth_gbytes_per_s > 0
