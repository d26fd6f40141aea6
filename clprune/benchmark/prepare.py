"""Everything that a contest on one model needs beforehand: tuned tiles, pruned pairs of files, right answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clprune.benchmark.models import (
    ModelFiles,
    ends_in_softmax,
    find_cfg,
    load_or_make_weights,
    random_images,
    reference_answer,
    write_variant,
)
from clprune.benchmark.serve import FloatArray
from clprune.benchmark.units import Tuning, UnitRows, Variant, fastest_units, tune_missing, variant_tasks
from clprune.darknet.network import Network, load_network
from clprune.darknet.weights import read_weights
from clprune.device import DeviceInfo
from clprune.opencl import open_device
from clprune.runner.plan import make_plan
from clprune.runner.workload import weights_workloads
from clprune.tuning.store import open_store
from clprune.tuning.tune import Task, unique_tasks


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """`files` and `expected` by the name of the weights; `x` is one batch `[N, C, H, W]`."""

    network: Network
    device: DeviceInfo
    weights_source: str
    files: Mapping[str, ModelFiles]
    expected: Mapping[str, FloatArray]
    x: FloatArray
    is_softmax: bool


def prepare(
    model: str,
    *,
    batch: int,
    device: str | None,
    variants: Sequence[Variant],
    pairs: Mapping[str, ModelFiles],
    unit_rows: UnitRows,
    tuning: Tuning,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
) -> Prepared:
    """Tune what is missing, prune in the fastest units, write the pairs into `folder`, compute the right answers.

    `pairs` are further models of the same shape that are taken as they are, by the name of their weights. Raises
    UsageError, NoDeviceError, and what tuning and files raise.
    """
    network = load_network(find_cfg(model), batch=batch)
    dense, source = load_or_make_weights(network, seed=seed)
    store = open_store()
    with open_device(device) as session:
        tasks = variant_tasks(network, session.info, variants, unit_rows)
        for pair in pairs.values():
            tasks += _pair_tasks(pair, session.info, batch=batch)
        tune_missing(session, store, tasks, tuning, say=say)
        info = session.info
    files = dict(pairs)
    for variant in variants:
        if variant.weights_name not in files:
            units = fastest_units(network, info, store, variant, unit_rows=unit_rows)
            files[variant.weights_name] = write_variant(network, dense, variant, units, folder=folder)
    del dense
    x = random_images(network, seed=seed)
    expected = {}
    for name, pair in files.items():
        say(f"float64 reference of {pair.weights.name}")
        expected[name] = reference_answer(pair, info, x)
    return Prepared(
        network=network,
        device=info,
        weights_source=source,
        files=files,
        expected=expected,
        x=x,
        is_softmax=ends_in_softmax(network),
    )


def _pair_tasks(pair: ModelFiles, device: DeviceInfo, *, batch: int) -> list[Task]:
    network = load_network(pair.cfg, batch=batch)
    workloads = weights_workloads(network, read_weights(pair.weights, network))
    return unique_tasks(make_plan(network, device, workloads=workloads).steps)
