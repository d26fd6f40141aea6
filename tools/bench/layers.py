"""How near layers come to a device's limits: convolutions to its arithmetic, connected layers to its memory.

Limits are measured in turns with the layers, round by round, since clocks change: a share of best runs compares the
best moments of both, the median over rounds compares what was measured within moments of each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clprune.container.model import Model
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.launching import timed_in_a_row
from clprune.opencl import Session
from clprune.plan.plan import Plan
from clprune.runner import Runner
from clprune.runner.limits import BandwidthProbe, PeakProbe
from clprune.turns import Series, in_turns
from tools.bench.figures import Figure
from tools.bench.report import Part, table_of


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """One convolution or connected layer.

    `remaining_share` of its weights are not zero; the kernel multiplies `kept_share` of them, which is more where its
    tile is taller than the unit. `flops` and `read_bytes` are of what remains: multiplying and reading zeros is no
    merit. `read_bytes` are packed weights and lists.
    """

    index: int
    problem: str
    tile_origin: str
    is_convolution: bool
    remaining_share: float
    kept_share: float
    flops: float
    read_bytes: float
    series: Series

    @property
    def gflops(self) -> float:
        """Operations that remain per nanosecond of the best run."""
        return self.flops / self.series.best_ms / 1e6

    @property
    def gbytes_per_s(self) -> float:
        """Weights read per nanosecond of the best run."""
        return self.read_bytes / self.series.best_ms / 1e6


@dataclass(frozen=True, kw_only=True)
class ModelTimes:
    """The layers of one runner, and its bytes on the device: packed weights and lists, activations, and the two largest
    neighbouring activations.
    """

    name: str
    layers: tuple[LayerTimes, ...]
    parameter_bytes: int
    tensor_bytes: int
    largest_neighbours_bytes: int

    def of_kind(self, *, is_convolution: bool) -> tuple[LayerTimes, ...]:
        """The convolutions, or the connected layers."""
        return tuple(layer for layer in self.layers if layer.is_convolution == is_convolution)

    @property
    def memory_ratio(self) -> float:
        """Device memory over packed weights and the two largest neighbouring activations."""
        return (self.parameter_bytes + self.tensor_bytes) / (self.parameter_bytes + self.largest_neighbours_bytes)


@dataclass(frozen=True, kw_only=True)
class LimitSeries:
    """The device's limits, one sample per round."""

    peak_gflops: tuple[float, ...]
    bandwidth_gbytes_per_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedModel(AbstractContextManager["TimedModel"]):
    """A runner to be timed, and the share of weights that are not zero by layer index. Use it as a context manager."""

    name: str
    runner: Runner
    remaining_shares: Mapping[int, float]

    @classmethod
    def of(cls, name: str, model: Model, *, session: Session, **runner_options: Any) -> TimedModel:
        """`model` on the device. Raises what Runner raises."""
        shares = remaining_shares(model.network, model.weights)
        return cls(name=name, runner=Runner(model, session=session, **runner_options), remaining_shares=shares)

    def __exit__(self, *_: object) -> None:
        self.runner.close()


def remaining_shares(network: Network, weights: Weights) -> dict[int, float]:
    """Layer index -> share of weights that are not zero, of convolutions and connected layers."""
    return {
        layer.index: float(np.count_nonzero(values.weights) / values.weights.size)
        for layer, values in zip(network.layers, weights.layers, strict=True)
        if values is not None and isinstance(layer, Convolutional | Connected)
    }


def time_layers(
    session: Session, models: Sequence[TimedModel], *, rounds: int, passes: int = 2
) -> tuple[LimitSeries, list[ModelTimes]]:
    """Time each model's layers `passes` times in each of `rounds` rounds, with both limits measured in each round.

    All steps of a network run in order, so that a layer finds in the caches what it finds in an inference; of a pass's
    times the better counts. Raises LaunchError, BuildError.
    """
    peak, bandwidth = PeakProbe(session), BandwidthProbe(session)

    def turn(model: TimedModel) -> tuple[float, float, list[float]]:
        # The sweep through memory also empties the caches of what the model's weights left there.
        gbytes_per_s, gflops = bandwidth.gbytes_per_s(), peak.gflops()
        one = [_one_pass(model) for _ in range(passes)]
        return gbytes_per_s, gflops, [min(times) for times in zip(*one, strict=True)]

    turns = in_turns([partial(turn, model) for model in models], rounds=rounds, warmup=0)
    by_round = list(zip(*turns, strict=True))
    limits = LimitSeries(
        peak_gflops=tuple(max(gflops for _, gflops, _ in together) for together in by_round),
        bandwidth_gbytes_per_s=tuple(max(rate for rate, _, _ in together) for together in by_round),
    )
    samples = [zip(*(times for *_, times in of_model), strict=True) for of_model in turns]
    return limits, [_model_times(*pair) for pair in zip(models, samples, strict=True)]


def _one_pass(model: TimedModel) -> list[float]:
    """Milliseconds of the steps with a matrix."""
    steps = model.runner.bound.steps
    each = zip(steps, timed_in_a_row([step.bound for step in steps]), strict=True)
    return [seconds * 1e3 for step, seconds in each if isinstance(step.step.layer, Convolutional | Connected)]


def _model_times(model: TimedModel, samples_ms: Iterable[tuple[float, ...]]) -> ModelTimes:
    bound = model.runner.bound
    layers = []
    steps = [step for step in bound.steps if isinstance(step.step.layer, Convolutional | Connected)]
    for step, samples in zip(steps, samples_ms, strict=True):
        assert step.step.layer is not None
        remaining = model.remaining_shares[step.step.layer.index]
        layers.append(
            LayerTimes(
                index=step.step.layer.index,
                problem=step.step.operation.key,
                tile_origin=step.step.tile_origin,
                is_convolution=isinstance(step.step.layer, Convolutional),
                remaining_share=remaining,
                kept_share=step.kept_share,
                flops=step.step.operation.flops * remaining,
                read_bytes=step.parameter_bytes * (min(1.0, remaining / step.kept_share) if remaining else 0.0),
                series=Series(samples_ms=samples),
            )
        )
    return ModelTimes(
        name=model.name,
        layers=tuple(layers),
        parameter_bytes=bound.parameter_bytes,
        tensor_bytes=bound.tensor_bytes,
        largest_neighbours_bytes=largest_neighbours_bytes(bound.plan),
    )


def share_of_peak(name: str, layers: Sequence[LayerTimes], limits: LimitSeries, *, goal: float | None) -> Figure:
    """Percent of the arithmetic peak: operations that remain in all `layers` over their time."""
    work = sum(layer.flops for layer in layers) / 1e6
    return _share(name, work, layers, limits.peak_gflops, goal=goal)


def share_of_bandwidth(name: str, layers: Sequence[LayerTimes], limits: LimitSeries, *, goal: float | None) -> Figure:
    """Percent of the read bandwidth: bytes of all packed weights over the time of `layers`."""
    work = sum(layer.read_bytes for layer in layers) / 1e6
    return _share(name, work, layers, limits.bandwidth_gbytes_per_s, goal=goal)


def _share(
    name: str, work: float, layers: Sequence[LayerTimes], rates: Sequence[float], *, goal: float | None
) -> Figure:
    """`work` in millions per millisecond, over a rate in thousands of millions per second."""
    best = work / sum(layer.series.best_ms for layer in layers) / max(rates)
    totals = [sum(times) for times in zip(*(layer.series.samples_ms for layer in layers), strict=True)]
    median = statistics.median(work / total / rate for total, rate in zip(totals, rates, strict=True))
    return Figure(name=name, best=100 * best, median=100 * median, goal=goal, is_at_most=False, unit=" %")


LAYER_COLUMNS = (
    "layer", "remain", "multiplied", "best ms", "median ms", "GFLOP/s", "of peak", "GB/s", "of bandwidth", "tile",
)  # fmt: skip


def layer_table(times: ModelTimes, limits: LimitSeries) -> Part:
    """One line per layer."""
    peak, bandwidth = max(limits.peak_gflops), max(limits.bandwidth_gbytes_per_s)
    rows = [
        (
            f"{layer.index} {layer.problem}",
            f"{100 * layer.remaining_share:.1f} %",
            f"{100 * layer.kept_share:.1f} %",
            f"{layer.series.best_ms:.4g}",
            f"{layer.series.median_ms:.4g}",
            f"{layer.gflops:.0f}",
            f"{100 * layer.gflops / peak:.0f} %",
            "-" if layer.is_convolution else f"{layer.gbytes_per_s:.1f}",
            "-" if layer.is_convolution else f"{100 * layer.gbytes_per_s / bandwidth:.0f} %",
            layer.tile_origin,
        )
        for layer in times.layers
    ]
    return table_of(LAYER_COLUMNS, rows)


def model_to_dict(times: ModelTimes) -> dict[str, Any]:
    """As JSON can hold it."""
    layers = []
    for layer in times.layers:
        facts = {name: value for name, value in vars(layer).items() if name not in ("is_convolution", "series")}
        layers.append({"layer": facts.pop("index"), **facts, **layer.series.to_dict()})
    return {**vars(times), "memory_ratio": times.memory_ratio, "layers": layers}


def largest_neighbours_bytes(plan: Plan) -> int:
    """Bytes of the largest pair of activations that one step reads and writes: what no sharing can go below."""
    sizes = {tensor: layout.size_bytes for tensor, layout in plan.layouts.items()}
    return max((sum(sizes[t] for t in {*step.inputs, step.output}) for step in plan.steps), default=0)
