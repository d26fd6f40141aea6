"""How fast is a model on this device, and how fast could it be: measured in the same run."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any

from clprune.darknet.random_weights import random_images
from clprune.device import DeviceInfo
from clprune.launching import timed_in_a_row
from clprune.runner.binding import BoundStep
from clprune.runner.limits import measure_limits
from clprune.runner.runner import Runner
from clprune.turns import in_turns, milliseconds

#: Inferences that are timed where nobody says how many.
ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """One step: milliseconds, and gigaflops on the weights that remain.

    `imbalance`: the longest list of kept weights that runs beside others, over their mean. `algorithm` was chosen for
    `reason` from `alternatives`: (name, milliseconds that tuning measured or None).
    """

    layer: int | None
    label: str
    problem: str
    tile: dict[str, Any]
    tile_origin: str
    kept_share: float
    best_ms: float
    median_ms: float
    flops: int
    algorithm: str = ""
    reason: str = ""
    alternatives: tuple[tuple[str, float | None], ...] = ()
    imbalance: float = 1.0

    def __add__(self, other: StepTimes) -> StepTimes:
        """The same work done twice."""
        return dataclasses.replace(
            self,
            best_ms=self.best_ms + other.best_ms,
            median_ms=self.median_ms + other.median_ms,
            flops=self.flops + other.flops,
        )

    @property
    def gflops(self) -> float:
        """Operations that remain per nanosecond at the best time."""
        return self.flops / self.best_ms / 1e6 if self.best_ms > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Times of whole inferences (host to host) and of each step alone, with the device's limits beside them.

    `model` is the cfg's path. An inference makes so many `launches`; `joining_refused` says why they are not fewer,
    where the device would gain by that. `parameter_bytes` is device memory of packed weights, lists and biases,
    `tensor_bytes` that of activations.
    """

    model: str
    device: DeviceInfo
    batch: int
    best_ms: float
    median_ms: float
    rounds: int
    launches: int
    joining_refused: str
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
    def gflops(self) -> float:
        """Remaining operations per nanosecond at the best time."""
        return self.flops / self.best_ms / 1e6

    @property
    def share_of_peak(self) -> float:
        """Remaining operations over the best time, relative to the measured peak."""
        return self.gflops / self.peak_gflops

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, derived figures included."""
        layers = [dataclasses.asdict(step) | {"gflops": step.gflops} for step in self.layers]
        derived = {"gflops": self.gflops, "share_of_peak": self.share_of_peak}
        return vars(self) | self.device.facts | {"layers": layers} | derived


def bench(runner: Runner, *, rounds: int = ROUNDS, warmup: int = 3) -> BenchResult:
    """Time `rounds` inferences of one full batch and every step, after `warmup` that do not count.

    Steps are timed in interleaved rounds too, so that a noisy moment does not hit one layer only.
    """
    limits = measure_limits(runner.session)
    whole_ms, layers = measure_steps(runner, rounds=rounds, warmup=warmup)
    return BenchResult(
        model=str(runner.network.path),
        device=runner.session.info,
        batch=runner.network.batch,
        best_ms=min(whole_ms),
        median_ms=statistics.median(whole_ms),
        rounds=rounds,
        launches=len(runner.bound.launches),
        joining_refused=runner.bound.joining_refused,
        peak_gflops=limits.peak_gflops,
        bandwidth_gbytes_per_s=limits.bandwidth_gbytes_per_s,
        parameter_bytes=runner.bound.parameter_bytes,
        tensor_bytes=runner.bound.tensor_bytes,
        layers=layers,
    )


def measure_steps(runner: Runner, *, rounds: int, warmup: int = 3) -> tuple[list[float], tuple[StepTimes, ...]]:
    """(milliseconds of every inference, each layer alone), as `bench` times them."""
    x = random_images(runner.network, seed=0)
    steps = runner.bound.steps
    launches = [step.bound for step in steps]

    def turn() -> tuple[float, list[float]]:
        return milliseconds(lambda: runner(x)), timed_in_a_row(launches)

    (samples,) = in_turns([turn], rounds=rounds, warmup=warmup)
    whole_ms = [time_ms for time_ms, _ in samples]
    step_ms = [[1e3 * seconds for seconds in times] for times in zip(*(each for _, each in samples), strict=True)]
    return whole_ms, _by_layer([_step_times(step, times) for step, times in zip(steps, step_ms, strict=True)])


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
        imbalance=bound.imbalance,
        algorithm=step.algorithm,
        reason=step.reason,
        alternatives=tuple((item.offer.label, item.time_ms) for item in step.alternatives),
    )


def _by_layer(steps: list[StepTimes]) -> tuple[StepTimes, ...]:
    """One entry per layer: the launches for single images of a batch added up."""
    layers: dict[tuple[int | None, str, str], StepTimes] = {}
    for step in steps:
        key = (step.layer, step.label, step.problem)
        earlier = layers.get(key)
        layers[key] = step if earlier is None else earlier + step
    return tuple(layers.values())
