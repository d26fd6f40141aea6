"""How fast is a model on this device, and how fast could it be: measured in the same run."""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune.opencl import Session
from clprune.quirks import wants_explicit_vectors
from clprune.rendering import render
from clprune.runner.binding import BoundStep
from clprune.runner.runner import Runner


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """One launch: milliseconds, and gigaflops on the weights that remain."""

    layer: int | None
    label: str
    problem: str
    tile: dict[str, Any]
    tile_origin: str
    kept_share: float
    best_ms: float
    median_ms: float
    flops: int

    @property
    def gflops(self) -> float:
        """Operations that remain per nanosecond at the best time."""
        return self.flops / self.best_ms / 1e6 if self.best_ms > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Times of whole inferences (host to host) and of each step alone, with the device's limits beside them.

    `parameter_bytes` is device memory of packed weights, lists and biases, `tensor_bytes` that of activations.
    """

    batch: int
    best_ms: float
    median_ms: float
    rounds: int
    peak_gflops: float
    bandwidth_gbytes_per_s: float
    parameter_bytes: int
    tensor_bytes: int
    layers: tuple[StepTimes, ...]

    @property
    def flops(self) -> int:
        """Multiplies and adds that remain."""
        return sum(step.flops for step in self.layers)

    @property
    def share_of_peak(self) -> float:
        """Remaining operations over the best time, relative to the measured peak."""
        return self.flops / self.best_ms / 1e6 / self.peak_gflops


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a device can do at most, measured: fp32 gigaflops in registers, GB/s read from memory."""

    peak_gflops: float
    bandwidth_gbytes_per_s: float


def bench(runner: Runner, *, rounds: int = 20, warmup: int = 3) -> BenchResult:
    """Time `rounds` inferences of one full batch and every step, after `warmup` that do not count.

    Steps are timed in interleaved rounds too, so that a noisy moment does not hit one layer only.
    """
    limits = measure_limits(runner.session)
    shape = runner.network.input
    x = np.random.default_rng(0).random((runner.network.batch, shape.channels, shape.height, shape.width), np.float32)
    whole_ms: list[float] = []
    steps = runner.bound.steps
    step_ms: list[list[float]] = [[] for _ in steps]
    for turn in range(warmup + rounds):
        start = time.perf_counter()
        runner(x)
        elapsed = time.perf_counter() - start
        if turn >= warmup:
            whole_ms.append(elapsed * 1e3)
        each = [step.bound.timed() * 1e3 for step in steps]
        if turn >= warmup:
            for times, value in zip(step_ms, each, strict=True):
                times.append(value)
    return BenchResult(
        batch=runner.network.batch,
        best_ms=min(whole_ms),
        median_ms=statistics.median(whole_ms),
        rounds=rounds,
        peak_gflops=limits.peak_gflops,
        bandwidth_gbytes_per_s=limits.bandwidth_gbytes_per_s,
        parameter_bytes=runner.bound.parameter_bytes,
        tensor_bytes=runner.bound.tensor_bytes,
        layers=tuple(_step_times(step, times) for step, times in zip(steps, step_ms, strict=True)),
    )


def _step_times(bound: BoundStep, times_ms: list[float]) -> StepTimes:
    step = bound.step
    return StepTimes(
        layer=step.layer.index if step.layer is not None else None,
        label=step.label,
        problem=step.operation.key,
        tile=dataclasses.asdict(step.tile),
        tile_origin=step.tile_origin,
        kept_share=bound.kept_share,
        best_ms=min(times_ms),
        median_ms=statistics.median(times_ms),
        flops=round(step.operation.flops * bound.kept_share),
    )


def convolutions_ms(result: BenchResult) -> float:
    """Sum of the convolution layers' best milliseconds."""
    return sum(step.best_ms for step in result.layers if "size" in step.problem and step.label == "convolutional")


def measure_limits(session: Session) -> Limits:
    """Measure both limits, best of several runs and shapes; takes about a second."""
    return Limits(peak_gflops=_peak_gflops(session), bandwidth_gbytes_per_s=_bandwidth(session))


def _peak_gflops(session: Session) -> float:
    is_cpu = wants_explicit_vectors(session.info)
    items = session.info.compute_units * (4 if is_cpu else 4096)
    group_n = 1 if is_cpu else 64
    best = 0.0
    for vector_width in (8, 16) if is_cpu else (1, 4):
        chains = 12
        source = render("peak", {"vector_width": vector_width, "chains": chains, "group_n": group_n})
        kernel = session.kernel(session.build(source), "peak")
        y = session.empty_buffer(4 * items * vector_width)
        turns = 1000
        while True:  # a run must be long enough for the clock to read it well
            arguments = (y, np.int32(turns), np.float32(0.999))
            bound = session.bind(kernel, global_size=(items,), local_size=(group_n,), arguments=arguments)
            seconds = min(bound.timed() for _ in range(5))
            best = max(best, 2 * chains * vector_width * items * turns / seconds / 1e9)
            if seconds > 0.02 or turns > 2**28:
                break
            turns *= 4
    return best


def _bandwidth(session: Session) -> float:
    is_cpu = wants_explicit_vectors(session.info)
    size_bytes = min(session.info.max_alloc_bytes, session.info.global_mem_bytes // 4, 2**28)
    vector_width, unroll, group_n = (16, 4, 1) if is_cpu else (4, 4, 64)
    per_turn = 4 * vector_width * unroll * group_n
    groups = session.info.compute_units * (8 if is_cpu else 32)
    turns = max(1, size_bytes // (per_turn * groups))
    source = render("bandwidth", {"vector_width": vector_width, "unroll": unroll, "group_n": group_n})
    kernel = session.kernel(session.build(source), "bandwidth")
    x = session.zeros(per_turn * groups * turns)
    y = session.empty_buffer(4 * groups * group_n * vector_width)
    arguments = (x, y, np.int32(turns))
    bound = session.bind(kernel, global_size=(groups * group_n,), local_size=(group_n,), arguments=arguments)
    seconds = min(bound.timed() for _ in range(6))
    return per_turn * groups * turns / seconds / 1e9
