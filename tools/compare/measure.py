"""The stage that needs a device: milliseconds of every pruned network, with the dense one beside it in every round.

Masks follow from the dense weights alone, so that all seeds of a variant take the same time: one of them is measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clprune.algorithms import Algorithms
from clprune.container.load import default_weights
from clprune.container.model import Model, load_model
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_images
from clprune.darknet.values import Weights, unit_matrix
from clprune.device import DeviceInfo
from clprune.errors import DataError
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL
from clprune.launching import timed_in_a_row
from clprune.opencl import Session, open_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.plan.steps import Chosen
from clprune.pruning.imbalance import imbalance, kept_columns
from clprune.runner import Runner
from clprune.tiles.store import open_store
from clprune.tuning.effort import effort_by_name
from clprune.tuning.tune import offers_to_tune
from clprune.turns import in_turns, milliseconds
from tools.bench.machine import device_text, today
from tools.bench.units import Tuning, tune_missing
from tools.compare.experiment import Experiment
from tools.compare.frame import DENSE, MODELS, TIMES, experiment_rows
from tools.compare.journal import Row, append_row, read_rows
from tools.compare.variants import Variant
from tools.terminal import Say

WARM_UP = 3


#: (variant, sparsity) -> the cfg of a pruned network, with its weights beside it.
Models = Mapping[tuple[str, float], Path]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How it is measured: images at once, rounds, and what the planner may choose from."""

    batch: int
    rounds: int
    algorithms: Algorithms


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Milliseconds per round: of whole inferences, host to host, and of each convolution (with what is fused) by its
    layer's index.
    """

    whole_ms: tuple[float, ...]
    layer_ms: Mapping[int, tuple[float, ...]]

    @property
    def convolution_ms(self) -> tuple[float, ...]:
        """Of all convolutions, per round."""
        return tuple(map(sum, zip(*self.layer_ms.values(), strict=True)))


def kernels_digest() -> str:
    """Changes with the source of any kernel: times of others are no comparison."""
    return hashlib.sha256(" ".join(kernel.source_hash() for kernel in built_in_kernels()).encode()).hexdigest()[:16]


def kept_models(rows: Sequence[Row], folder: Path) -> dict[tuple[str, float], Path]:
    """The network of the lowest seed there is of each variant and share, for the rows of `retrain`."""
    models: dict[tuple[str, float], Path] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        key = (str(row["variant"]), float(row["sparsity"]))
        models.setdefault(key, folder / f"{key[0]}-{100 * key[1]:g}-{row['seed']}.cfg")
    return models


def measure_all(
    experiment: Experiment,
    options: Mapping[str, Any],
    *,
    algorithms: Algorithms,
    effort: str,
    is_whole_groups: bool,
    say: Say,
) -> None:
    """Measure what has no row yet, one share after the other, after tuning it if that is wished.

    `options` are `work`, `timing_batch`, `rounds`, `device`, `tune`, `again`, and `seconds` after which no further
    group begins (None: all do). With `is_whole_groups` all networks of a share are measured where one of them is
    missing, in the same rounds: they are compared with each other. Raises DataError where nothing was retrained.
    """
    work: Path = options["work"]
    end = time.monotonic() + (options.get("seconds") or float("inf"))
    models = kept_models(experiment_rows(work, key=experiment.key), work / MODELS)
    check_models(models, work=work)
    timing = Timing(batch=options["timing_batch"], rounds=options["rounds"], algorithms=algorithms)
    dense = load_model(experiment.cfg, experiment.dense or work / DENSE, batch=timing.batch)
    with open_device(options["device"]) as session:
        if options["tune"]:
            tuning = Tuning(effort=effort_by_name(effort), budget_s=options["tune"])
            tune_models(session, dense, models, tuning=tuning, say=say)
        missing = models if options["again"] else missing_models(models, session, timing, work=work)
        say(f"{len(models) - len(missing)} of {len(models)} networks are measured")
        for sparsity in sorted({share for _, share in missing}):
            if time.monotonic() > end:
                break
            known = models if is_whole_groups else missing
            group = {key: model for key, model in known.items() if key[1] == sparsity}
            measure_group(session, dense, group, timing, work=work, experiment=experiment.key)
            say(f"measured {len(group)} networks without {100 * sparsity:g} %")


def missing_models(models: Models, session: Session, timing: Timing, *, work: Path) -> dict[tuple[str, float], Path]:
    """Those without a row for this device, batch, choice of algorithms and these kernels in `work`."""
    asked = _asked(session.info, timing)
    done = {
        (row["variant"], row["sparsity"])
        for row in read_rows(work / TIMES)
        if all(row.get(name) == value for name, value in asked.items())
    }
    return {key: model for key, model in models.items() if key not in done}


def measure_group(
    session: Session, dense: Model, models: Models, timing: Timing, *, work: Path, experiment: str
) -> None:
    """Time `models` and the dense one in turns, and add a row for each.

    Raises what reading and running them raises.
    """
    pruned = [load_model(cfg, batch=timing.batch) for cfg in models.values()]
    direct = Algorithms(names=("direct",))
    wanted = [*((model, timing.algorithms) for model in (*pruned, dense)), (dense, direct)]
    with contextlib.ExitStack() as stack:
        runners = [
            stack.enter_context(Runner(model, session=session, algorithms=algorithms)) for model, algorithms in wanted
        ]
        *samples, dense_samples, direct_samples = time_in_rounds(runners, rounds=timing.rounds)
        facts = [
            {"algorithms_used": algorithms_used(runner), "groups_per_unit": groups_per_unit(runner)}
            for runner in runners[: len(models)]
        ]
    for (variant, sparsity), model, fact, timed in zip(models, pruned, facts, samples, strict=True):
        append_row(
            work / TIMES,
            {
                "experiment": experiment,
                "variant": variant,
                "sparsity": sparsity,
                **_asked(session.info, timing),
                "rounds": timing.rounds,
                **fact,
                "imbalance": mean_imbalance(model.network, model.weights),
                **compare(timed, dense=dense_samples, direct=direct_samples),
                "date": today(),
            },
        )


def compare(timed: Samples, *, dense: Samples, direct: Samples) -> dict[str, Any]:
    """Best and median milliseconds of a network and of the dense one, and medians of the rounds' ratios.

    `direct` is the dense network by direct convolution alone: what a method that skips weights is compared with where
    the planner runs the dense one by another algorithm. Of each layer, by its index, with that alone.
    """
    row: dict[str, Any] = {}
    for part in ("", "conv_"):
        own, others = (one.convolution_ms if part else one.whole_ms for one in (timed, dense))
        for name, samples in ((f"{part}time", own), (f"dense_{part}time", others)):
            row |= {f"{name}_ms": min(samples), f"{name}_median_ms": statistics.median(samples)}
        row[f"{part}time_ratio"] = _ratio(own, others)
    row["direct_conv_time_ms"] = min(direct.convolution_ms)
    row["direct_conv_time_ratio"] = _ratio(timed.convolution_ms, direct.convolution_ms)
    row["direct_layer_time_ratios"] = {
        str(index): _ratio(samples, direct.layer_ms[index])
        for index, samples in timed.layer_ms.items()
        if index in direct.layer_ms
    }
    return row


def time_in_rounds(runners: Sequence[Runner], *, rounds: int) -> list[Samples]:
    """Time all runners in each round, in an order that moves on by one from round to round."""
    x = random_images(runners[0].network, seed=0)

    def turn(runner: Runner) -> tuple[float, dict[int, float]]:
        return milliseconds(lambda: runner(x)), _convolutions_ms(runner)

    turns = in_turns([partial(turn, runner) for runner in runners], rounds=rounds, warmup=WARM_UP, is_rotating=True)
    return [
        Samples(
            whole_ms=tuple(whole_ms for whole_ms, _ in samples),
            layer_ms={layer: tuple(layer_ms[layer] for _, layer_ms in samples) for layer in samples[0][1]},
        )
        for samples in turns
    ]


def algorithms_used(runner: Runner) -> str:
    """Such as `direct 3, sparse 10`: the convolutions of a plan by what computes them."""
    layers = {
        step.step.layer.index: step.step.algorithm
        for step in runner.bound.steps
        if isinstance(step.step.layer, Convolutional)
    }
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(layers.values()).items()))


def groups_per_unit(runner: Runner) -> float:
    """Work-groups of a convolution over the device's compute units, the median over layers (of one launch each).

    Far above 1, a compute unit works through many row blocks one after another, and the fullest one sets no pace.
    """
    units = runner.session.info.compute_units
    counts = []
    for bound in runner.bound.steps:
        step = bound.step
        if isinstance(step.layer, Convolutional):
            launches = [stage.launch for stage in step.kernel.stages(step.tile, step.operation)]
            groups = [math.prod(launch.global_size) / math.prod(launch.local_size) for launch in launches]
            counts.append(max(groups) / units)
    return statistics.median(counts)


def mean_imbalance(network: Network, weights: Weights) -> float:
    """Columns of the fullest row block over the mean, of the cfg's units, each layer by its share of multiplications.

    1 where every row block of a layer has the same work.
    """
    longer = even = 0.0
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if isinstance(layer, Convolutional) and layer.prune is not None and values is not None:
            mask = unit_matrix(values) != 0
            rows = layer.filters // layer.groups
            counts = kept_columns(mask, unit_rows=layer.prune.unit.rows, group_rows=rows)
            work = float(counts.sum()) * layer.output.height * layer.output.width
            longer += work * imbalance(counts)
            even += work
    return longer / even if even else 1.0


def tune_models(session: Session, dense: Model, models: Models, *, tuning: Tuning, say: Say) -> None:
    """Tune what the models' problems and the dense network's lack, each by every algorithm that could be its best.

    Raises what `tune` raises.
    """
    steps, of_single_weights = _steps(session, dense), []
    for (variant, _), cfg in models.items():
        found = _steps(session, load_model(cfg, batch=dense.network.batch))
        steps += found
        if not Variant.parse(variant).is_column_method:
            of_single_weights += found
    # no likely choice where whole columns can be skipped, but for single weights it may be the only good one
    kernels = {SPARSE_CONV.name, SPARSE_CONV_LOCAL.name}
    sparse = [task for task in offers_to_tune(of_single_weights) if task.kernel.name in kernels]
    every = [*offers_to_tune(steps, likely_only=True), *sparse]
    tasks = {(task.kernel.name, task.operation.key, task.workload.key): task for task in every}
    with open_store(to_write=True) as store:
        tune_missing(session, store, list(tasks.values()), tuning, say=say)


def _steps(session: Session, model: Model) -> list[Chosen]:
    forms = weights_forms(model.network, model.weights)
    return list(make_plan(model.network, session.info, forms=forms).steps)


def _convolutions_ms(runner: Runner) -> dict[int, float]:
    """All steps once, in order, so that a layer finds in the caches what it finds in an inference; by layer."""
    steps = runner.bound.steps
    total: dict[int, float] = {}
    for step, seconds in zip(steps, timed_in_a_row([step.bound for step in steps]), strict=True):
        layer = step.step.layer
        if isinstance(layer, Convolutional):
            total[layer.index] = total.get(layer.index, 0.0) + seconds * 1e3
    return total


def _ratio(samples: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(samples, others, strict=True))


def _asked(info: DeviceInfo, timing: Timing) -> dict[str, Any]:
    """What tells rows of other measurements apart."""
    return {
        "device": device_text(info),
        "batch": timing.batch,
        "algorithms": ",".join(timing.algorithms.names),
        "kernels": kernels_digest(),
    }


def check_models(models: Models, *, work: Path) -> None:
    """Raise DataError where there is nothing to measure, or a network's files are gone."""
    if not models:
        raise DataError("no retrained networks here: run the stage `train` first", path=work)
    for cfg in models.values():
        if not cfg.exists() or not default_weights(cfg).exists():
            raise DataError("missing, though its row is there: remove that row to make it again", path=cfg)
