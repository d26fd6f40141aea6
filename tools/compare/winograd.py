"""wsp, bwsp and abwsp retrained alike and measured on one device; writes docs/results/winograd.md.

python -m tools.compare.winograd            half an hour on two cores; a killed run goes on where it was
python -m tools.compare.winograd --quick    a few minutes, into --work, for a look at the way

Stages that go on separately: `time` (a device) times the layers of wsp and bwsp, `choose` (PyTorch) lets abwsp choose
by that and by losses, `train` (PyTorch) retrains wsp and bwsp, and abwsp where it has chosen, `measure` (a device)
times the networks. `all` does them in this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clprune.algorithms import Algorithms
from clprune.darknet.network import load_network
from clprune.darknet.weights import read_weights
from clprune.files import write_atomically
from clprune.resources import models_folder
from clprune.unit import Unit
from tools import RESULTS
from tools.compare.choices import CHOICES, choose_all, chosen_variants, read_choices, time_all
from tools.compare.experiment import Experiment
from tools.compare.frame import (
    ALSO,
    DATA,
    DISTILLATION,
    QUICK_OPTION,
    STEM,
    TIMES,
    TIMING,
    TRAINING,
    trained_rows,
    use_threads,
)
from tools.compare.journal import Row, read_rows
from tools.compare.measure import measure_all
from tools.compare.otherwise import other_runs
from tools.compare.results import latest_times
from tools.compare.retrain import all_runs, prepare, retrain_all
from tools.compare.variants import WINOGRAD_METHODS, Variant, parse_shares
from tools.compare.winograd_page import winograd_page
from tools.terminal import options, run_command, say

QUICK = {"images": 1_280, "held_out": 1_000, "epochs": 1, "seeds": 1}


@click.command()
@options(
    stage={"type": click.Choice(["all", "time", "choose", "train", "measure"]), "default": "all"},
    work=Path("build/winograd"),
    out={"help": "Where results go [default: docs/results]."},
    also=ALSO,
    unit={"default": "8x1", "help": "Output channels x 1 that go together in each matrix."},
    winograd={"type": click.IntRange(min=2), "default": 2, "help": "Output tile m of F(m x m, 3 x 3)."},
    methods={"default": ",".join(WINOGRAD_METHODS), "help": "What to train."},
    sparsities={"default": "0.75,0.9", "help": "Shares of the convolutions' weights that go."},
    seeds=3,
    images=10_000,
    fresh={"default": False, "help": "Compose new images for every epoch."},
    **{**TRAINING, "learning_rate": 0.05},
    **DISTILLATION,
    dropout_strength={"type": click.FloatRange(0, 1), "default": 0.0, "help": "What multiplies dropout in retraining."},
    **TIMING,
    quick=QUICK_OPTION,
    device=None,
)
def compare_winograd(**options: Any) -> None:
    """Time, choose, train, measure, report."""
    if options["quick"]:
        options.update(QUICK)
    stage, work = options["stage"], options["work"]
    experiment = _experiment(options)
    sparsities = parse_shares(options["sparsities"])
    use_threads(options["threads"])
    work.mkdir(parents=True, exist_ok=True)
    if stage in ("all", "time"):
        _time(experiment, sparsities, options)
    if stage in ("all", "choose"):
        _choose(experiment, sparsities, options)
    if stage in ("all", "train"):
        _train(experiment, sparsities, options)
    if stage in ("all", "measure"):
        measure_all(experiment, options, algorithms=Algorithms(), effort="quick", is_whole_groups=True, say=say)
    if stage in ("all", "train", "measure"):
        _report(work, options["out"] or (work if options["quick"] else RESULTS), also=other_runs(options["also"]))


def _train(experiment: Experiment, sparsities: tuple[float, ...], options: dict[str, Any]) -> None:
    """abwsp where its choice is there."""
    work, seeds = options["work"], options["seeds"]
    choices = chosen_variants(read_choices(work / CHOICES))
    chosen = tuple(share for share in sparsities if str(share) in choices)
    methods = [method for method in WINOGRAD_METHODS if method in options["methods"].split(",")]
    variants = {method: _variant(method, options) for method in methods}
    abwsp = variants.pop("abwsp", None)
    runs = all_runs(list(variants.values()), sparsities, seeds=seeds)
    runs += [] if abwsp is None else all_runs([abwsp], chosen, seeds=seeds)
    retrain_all(experiment, runs, work=work, say=say, choices=choices)


def _time(experiment: Experiment, sparsities: tuple[float, ...], options: dict[str, Any]) -> None:
    from clprune.opencl import open_device
    from clprune.runner.layer_times import layer_times

    assert experiment.dense is not None
    network = load_network(experiment.cfg)
    timing = {"batch": options["timing_batch"], "rounds": options["rounds"]}
    with open_device(options["device"]) as session:
        time_all(
            network,
            read_weights(experiment.dense, network),
            _variant("abwsp", options),
            sparsities,
            work=options["work"],
            layer_times=lambda network, weights, plan: layer_times(session, network, weights, plan, **timing),
            say=say,
        )


def _choose(experiment: Experiment, sparsities: tuple[float, ...], options: dict[str, Any]) -> None:
    setting = prepare(experiment, work=options["work"], say=say)
    choose_all(setting, _variant("abwsp", options), sparsities, say=say)


def _report(work: Path, out: Path, *, also: Mapping[str, Sequence[Row]]) -> None:
    """Write what is there."""
    runs = trained_rows(work)
    times = latest_times(read_rows(work / TIMES))
    out.mkdir(parents=True, exist_ok=True)
    page = winograd_page(runs, times, read_choices(work / CHOICES), otherwise=also)
    write_atomically(out / "winograd.md", page)
    say(f"written: {out}/winograd.md")


def _variant(method: str, options: dict[str, Any]) -> Variant:
    return Variant(method=method, unit=Unit.parse(options["unit"]), winograd=options["winograd"])


def _experiment(options: dict[str, Any]) -> Experiment:
    cfg = models_folder() / f"{STEM}.cfg"
    names = (
        "images", "held_out", "epochs", "batch", "learning_rate", "distillation", "temperature", "dropout_strength",
        "precision", "fresh",
    )  # fmt: skip
    return Experiment(cfg=cfg, data=DATA, dense=cfg.with_suffix(".weights"), **{name: options[name] for name in names})


if __name__ == "__main__":
    run_command(compare_winograd)
