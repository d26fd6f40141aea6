"""Everything that a contest on one model needs beforehand: tuned tiles, pruned pairs of files, right answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clprune.container.model import load_model
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_images
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.opencl import open_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.tiles.store import open_store
from clprune.tuning.effort import effort_by_name
from clprune.tuning.tune import offers_to_tune
from tools.bench.models import ends_in_softmax, find_cfg, load_or_make_weights, reference_answer, write_variant
from tools.bench.serve import FloatArray
from tools.bench.units import (
    CONNECTED_ROWS,
    Tuning,
    UnitRows,
    Variant,
    fastest_cuts,
    refine_variants,
    tune_missing,
    variant_tasks,
)
from tools.terminal import Say

#: The options that `Preparation.take` takes.
PREPARATION: Mapping[str, Any] = {
    "tune": None,
    "effort": "quick",
    "conv_rows": {
        "metavar": "R,...",
        "default": None,
        "help": "Unit rows to choose from in convolutions, 16 and 32 as well where images are small. Default: 8, or 6 "
        "on CPUs of 16 registers.",
    },
    "fc_rows": {
        "metavar": "R,...",
        "default": ",".join(map(str, CONNECTED_ROWS)),
        "help": "Unit rows to choose from in connected layers.",
    },
    "seed": 0,
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be run: the variants of one model, in batches of `batch`.

    `pairs` are cfgs of further models of the same shape that are taken as they are, by the name of their weights.
    """

    model: str
    batch: int
    variants: Sequence[Variant]
    pairs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How much is tuned first, the units to choose from by `UnitRows`' names where the device's own are not wanted, and
    the seed of weights that no file has and of the images.
    """

    tuning: Tuning
    rows: Mapping[str, tuple[int, ...]]
    seed: int

    @classmethod
    def take(cls, options: dict[str, Any]) -> Preparation:
        """Take what PREPARATION names out of `options`. Raises UsageError."""
        told = {"convolution": options.pop("conv_rows"), "connected": options.pop("fc_rows")}
        rows = {name: parse_rows(text) for name, text in told.items() if text is not None}
        return cls(tuning=take_tuning(options), rows=rows, seed=options.pop("seed"))


def take_tuning(options: dict[str, Any]) -> Tuning:
    """Take `tune` and `effort` out of `options`; without seconds nothing is tuned."""
    seconds, effort = options.pop("tune"), options.pop("effort")
    return Tuning(effort=effort_by_name(effort), budget_s=seconds) if seconds else Tuning()


def parse_rows(text: str) -> tuple[int, ...]:
    """Such as `8,12`. Raises UsageError."""
    try:
        rows = tuple(int(part) for part in text.split(","))
    except ValueError:
        rows = ()
    if not rows or min(rows) < 1:
        raise UsageError(f"unit rows {text!r}: expected numbers such as 8,12")
    return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """`files` (cfgs with weights beside them) and `expected` by the name of the weights; `x` is one batch
    `[N, C, H, W]`. `device` is that of clprune's rows, None where there are none.
    """

    entry: Entry
    network: Network
    device: DeviceInfo | None
    weights_source: str
    files: Mapping[str, Path]
    expected: Mapping[str, FloatArray]
    x: FloatArray
    is_softmax: bool


def prepare(entry: Entry, preparation: Preparation, *, device: DeviceInfo | None, folder: Path, say: Say) -> Prepared:
    """Tune what is missing on `device`, prune in its fastest units, write the pairs of files into `folder`, and compute
    the right answers. Without a device nothing is tuned and only dense variants are made.

    Raises UsageError, and what tuning and files raise.
    """
    network = load_network(find_cfg(entry.model), batch=entry.batch)
    dense, source = load_or_make_weights(network, seed=preparation.seed)
    if device is not None:
        tune_entry(entry, network, dense, preparation, device=device, say=say)
    unit_rows = UnitRows.on(device, **preparation.rows)
    files = _write_files(entry, network, dense, unit_rows, device=device, folder=folder)
    x = random_images(network, seed=preparation.seed)
    expected = {}
    for name, cfg in files.items():
        say(f"float64 reference of {cfg.stem}")
        expected[name] = reference_answer(cfg, x)
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
    entry: Entry, network: Network, dense: Weights, preparation: Preparation, *, device: DeviceInfo, say: Say
) -> None:
    """Tune what is missing for all variants and pairs, then choose in the variants' networks.

    Raises what `tune` raises.
    """
    with open_device(device.selector) as session, open_store(to_write=True) as store:
        tuning = preparation.tuning
        likely_only = tuning.effort is not None and tuning.effort.likely_only
        unit_rows = UnitRows.on(session.info, **preparation.rows)
        tasks = variant_tasks(network, session.info, entry.variants, unit_rows, likely_only=likely_only)
        for cfg in entry.pairs.values():
            pair = load_model(cfg, batch=entry.batch)
            forms = weights_forms(pair.network, pair.weights)
            tasks += offers_to_tune(make_plan(pair.network, session.info, forms=forms).steps)
        if tune_missing(session, store, tasks, tuning, say=say):
            refine_variants(
                session,
                store,
                network,
                dense,
                variants=entry.variants,
                unit_rows=unit_rows,
                tuning=tuning,
                say=say,
            )


def _write_files(
    entry: Entry, network: Network, dense: Weights, unit_rows: UnitRows, *, device: DeviceInfo | None, folder: Path
) -> dict[str, Path]:
    files = dict(entry.pairs)
    with open_store() as store:
        for variant in entry.variants:
            cuts = {} if device is None else fastest_cuts(network, device, store, variant, unit_rows=unit_rows)
            if variant.weights_name not in files and (variant.is_dense or cuts):
                files[variant.weights_name] = write_variant(network, dense, variant, cuts, folder=folder)
    return files
