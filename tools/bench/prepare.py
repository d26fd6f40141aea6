"""Everything that a contest on one model needs beforehand: tuned tiles, pruned pairs of files, right answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clprune.container.load import load_weights
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_images
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.kernels.base import Offer
from clprune.opencl import open_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.tiles.store import open_store
from clprune.tuning.tune import offers_to_tune
from tools.bench.models import (
    ModelFiles,
    ends_in_softmax,
    find_cfg,
    load_or_make_weights,
    reference_answer,
    write_variant,
)
from tools.bench.serve import FloatArray
from tools.bench.units import (
    Cut,
    Tuning,
    UnitRows,
    Variant,
    fastest_cuts,
    refine_variants,
    tune_missing,
    variant_tasks,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be run: the variants of one model, in batches of `batch`.

    `pairs` are further models of the same shape that are taken as they are, by the name of their weights.
    """

    model: str
    batch: int
    variants: Sequence[Variant]
    pairs: Mapping[str, ModelFiles] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How much is tuned first, the units to choose from, and the seed of weights that no file has and of the images."""

    tuning: Tuning
    unit_rows: UnitRows
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """`files` and `expected` by the name of the weights; `x` is one batch `[N, C, H, W]`. `device` is that of clprune's
    rows, None where there are none.
    """

    entry: Entry
    network: Network
    device: DeviceInfo | None
    weights_source: str
    files: Mapping[str, ModelFiles]
    expected: Mapping[str, FloatArray]
    x: FloatArray
    is_softmax: bool


def prepare(
    entry: Entry,
    preparation: Preparation,
    *,
    device: DeviceInfo | None,
    folder: Path,
    say: Callable[[str], None],
) -> Prepared:
    """Tune what is missing on `device`, prune in its fastest units, write the pairs of files into `folder`, and compute
    the right answers. Without a device nothing is tuned and only dense variants are made.

    Raises UsageError, and what tuning and files raise.
    """
    network = load_network(find_cfg(entry.model), batch=entry.batch)
    dense, source = load_or_make_weights(network, seed=preparation.seed)
    if device is not None:
        tune_entry(entry, network, dense, preparation, device=device, say=say)
    files = _write_files(entry, network, dense, preparation.unit_rows, device=device, folder=folder)
    x = random_images(network, seed=preparation.seed)
    expected = {}
    for name, pair in files.items():
        say(f"float64 reference of {pair.weights.name}")
        expected[name] = reference_answer(pair, x)
    return Prepared(
        entry=entry,
        network=network,
        device=device,
        weights_source=source,
        files=files,
        expected=expected,
        x=x,
        is_softmax=ends_in_softmax(network),
    )


def tune_entry(
    entry: Entry,
    network: Network,
    dense: Weights,
    preparation: Preparation,
    *,
    device: DeviceInfo,
    say: Callable[[str], None],
) -> None:
    """Tune what is missing for all variants and pairs, then choose in the variants' networks.

    Raises what `tune` raises.
    """
    with open_device(device.selector) as session, open_store() as store:
        likely_only = preparation.tuning.effort is not None and preparation.tuning.effort.likely_only
        tasks = variant_tasks(network, session.info, entry.variants, preparation.unit_rows, likely_only=likely_only)
        for pair in entry.pairs.values():
            tasks += _pair_tasks(pair, session.info, batch=entry.batch)
        tuning = preparation.tuning
        if tune_missing(session, store, tasks, tuning, say=say):
            refine_variants(
                session,
                store,
                network,
                dense,
                variants=entry.variants,
                unit_rows=preparation.unit_rows,
                tuning=tuning,
                say=say,
            )


def _write_files(
    entry: Entry, network: Network, dense: Weights, unit_rows: UnitRows, *, device: DeviceInfo | None, folder: Path
) -> dict[str, ModelFiles]:
    files = dict(entry.pairs)
    for variant in entry.variants:
        cuts: Mapping[int, Cut] = {}
        if device is not None:
            with open_store() as store:
                cuts = fastest_cuts(network, device, store, variant, unit_rows=unit_rows)
        if variant.weights_name not in files and (variant.is_dense or cuts):
            files[variant.weights_name] = write_variant(network, dense, variant, cuts, folder=folder)
    return files


def _pair_tasks(pair: ModelFiles, device: DeviceInfo, *, batch: int) -> list[Offer]:
    network = load_network(pair.cfg, batch=batch)
    forms = weights_forms(network, load_weights(pair.weights, network))
    return offers_to_tune(make_plan(network, device, forms=forms).steps)
