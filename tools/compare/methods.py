"""Every pruning method, retrained alike and measured on one device; writes docs/results/methods.csv, .md and .svg.

python -m tools.compare.methods            over an hour on two cores; a killed run goes on where it was
python -m tools.compare.methods --quick    under five minutes, into --work, for a look at the way

Two stages that go on separately: `--stage train` (PyTorch, no device) makes the accuracies, `--stage measure` (a
device, no PyTorch) the milliseconds. `--stage all` does both; each ends with the tables of what is there,
which `--stage report` writes without doing more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clprune.cli.model import algorithm_options, take_algorithms
from clprune.errors import UsageError
from clprune.files import write_atomically
from clprune.resources import models_folder
from clprune.tuning.effort import EFFORTS
from clprune.unit import Unit
from tools import RESULTS
from tools.compare.experiment import Experiment
from tools.compare.files import DENSE, MODELS, RUNS, TIMES
from tools.compare.journal import Row, check_experiment, read_rows
from tools.compare.otherwise import other_runs
from tools.compare.page import comparison_page
from tools.compare.plot import plot
from tools.compare.results import latest_times, other_times, points, results_csv
from tools.compare.variants import Variant, default_units, default_variants, parse_shares, parse_variants
from tools.terminal import device_option, run_command, say

DATA = "digits-on-photos"
STEM = "vgg16-digits"
SPARSITIES = "0.5,0.75,0.875,0.9375"
QUICK = {"images": 1_280, "held_out": 1_000, "epochs": 1, "seeds": 1, "sparsities": "0.75,0.9375"}


@click.command()
@click.option("--stage", type=click.Choice(["all", "train", "measure", "report"]), default="all", show_default=True)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("build/methods"),
    show_default=True,
    help="Folder of what is not finished: rows, pruned networks, images.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results [default: docs/results].")
@click.option(
    "--also",
    multiple=True,
    metavar="TEXT=FOLDER",
    help="A --work folder of other settings, which TEXT names; its accuracies are set beside these.",
)
@click.option("--cfg", type=click.Path(path_type=Path, exists=True), help=f"The dense network [default: {STEM}.cfg].")
@click.option(
    "--dense",
    type=click.Path(path_type=Path, exists=True),
    help="Its weights [default: the shipped ones of the shipped network, else it is trained first].",
)
@click.option("--train-dense", is_flag=True, help="Train the dense network in any case.")
@click.option("--data", default=DATA, show_default=True, help="As in `clprune train`, such as cifar10:PATH.")
@click.option("--variants", metavar="NAME,...", help="METHOD[-ROWSxCOLUMNS][-permute],... [default: every method].")
@click.option("--wavefront-unit", default="8x1", show_default=True, help="Unit of wavefront, bcbp, block and mixed.")
@click.option("--workgroup-unit", default="16x1", show_default=True, help="Unit of workgroup.")
@click.option(
    "--sparsities", default=SPARSITIES, show_default=True, help="Shares of the convolutions' weights that go."
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--images", type=click.IntRange(min=1), default=15_000, show_default=True, help="Images of an epoch.")
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True, help="Epochs of each retraining.")
@click.option("--held-out", type=click.IntRange(min=1), help="Images that are evaluated [default: all].")
@click.option("--dense-epochs", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--dense-images", type=click.IntRange(min=1), default=40_000, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Images of a training step.")
@click.option("--learning-rate", default=0.02, show_default=True, help="Peak of retraining.")
@click.option("--shift-pixels", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--flip", is_flag=True, help="Mirror half of the training images.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 trains faster where the processor has it.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads that PyTorch uses [default: its own choice].")
@click.option("--quick", is_flag=True, help="Few images, one seed, two shares; results into --work by default.")
@click.option(
    "--timing-batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images at once when timed."
)
@click.option("--rounds", type=click.IntRange(min=1), default=40, show_default=True, help="Rounds of timing.")
@click.option(
    "--tune", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Tune what is missing first."
)
@click.option("--effort", type=click.Choice([one.name for one in EFFORTS]), default="quick", show_default=True)
@click.option("--again", is_flag=True, help="Measure also what is measured; the calmest measurement counts.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Begin no further group after so long.")
@algorithm_options
@device_option
def compare_methods(**options: Any) -> None:  # fmt: skip
    """Train, measure, report."""
    if options["quick"]:
        options.update(QUICK)
    sparsities = parse_shares(options["sparsities"])
    variants = _variants(options)
    experiment = _experiment(options)
    if options["stage"] in ("all", "train"):
        _train(experiment, variants, sparsities, options)
    if options["stage"] in ("all", "measure"):
        _measure(experiment, options)
    out = options["out"] or (options["work"] if options["quick"] else RESULTS)
    _report(options["work"], out, also=other_runs(options["also"]))


def _train(
    experiment: Experiment, variants: tuple[Variant, ...], sparsities: tuple[float, ...], options: dict[str, Any]
) -> None:
    from tools.compare.retrain import all_runs, retrain_all

    if options["threads"]:
        import torch

        torch.set_num_threads(options["threads"])
    runs = all_runs(variants, sparsities, seeds=options["seeds"])
    retrain_all(experiment, runs, work=options["work"], say=say)


def _measure(experiment: Experiment, options: dict[str, Any]) -> None:
    from clprune.opencl import open_device
    from clprune.tuning.effort import effort_by_name
    from tools.bench.units import Tuning
    from tools.compare.measure import (
        Timing,
        check_models,
        kept_models,
        measure_group,
        missing_models,
        tune_models,
    )

    work: Path = options["work"]
    end = time.monotonic() + (options["seconds"] or float("inf"))
    runs = read_rows(work / RUNS)
    check_experiment(runs, key=experiment.key, path=work / RUNS)
    models = kept_models(runs, work / MODELS)
    check_models(models, work=work)
    dense = (experiment.cfg, experiment.dense or work / DENSE)
    timing = Timing(
        batch=options["timing_batch"],
        rounds=options["rounds"],
        algorithms=take_algorithms(options),
    )
    with open_device(options["device"]) as session:
        if options["tune"]:
            tuning = Tuning(effort=effort_by_name(options["effort"]), budget_s=options["tune"])
            tune_models(session, dense, models, batch=timing.batch, tuning=tuning, say=say)
        missing = models if options["again"] else missing_models(models, session, timing, work=work)
        say(f"{len(models) - len(missing)} of {len(models)} networks are measured")
        for sparsity in sorted({share for _, share in missing}):
            if time.monotonic() > end:
                break
            group = {key: model for key, model in missing.items() if key[1] == sparsity}
            measure_group(session, dense, group, timing, work=work, experiment=experiment.key)
            say(f"measured {len(group)} networks without {100 * sparsity:g} %")


def _report(work: Path, out: Path, *, also: Mapping[str, Sequence[Row]]) -> None:
    """Write what is there: all runs, with the times of the last device that was measured."""
    runs = read_rows(work / RUNS)
    every = read_rows(work / TIMES)
    times = latest_times(every)
    if not runs:
        raise UsageError(f"no runs in {work}: expected the stage `train` first")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "methods.csv", results_csv(runs, times))
    write_atomically(out / "methods.md", comparison_page(runs, times, others=other_times(every), otherwise=also))
    if times:
        subtitle = f"{times[-1]['device']}, batch {times[-1]['batch']}"
        title = "Pruning methods, retrained alike: accuracy against measured time"
        write_atomically(out / "methods.svg", plot(points(runs, times), title=title, subtitle=subtitle))
    say(f"written: {out}/methods.csv, .md{' and .svg' if times else ''}")


def _experiment(options: dict[str, Any]) -> Experiment:
    """What all runs share; the shipped weights belong to the shipped network and its data alone."""
    shipped = models_folder() / f"{STEM}.cfg"
    cfg = options["cfg"] or shipped
    dense = options["dense"]
    if options["train_dense"]:
        if dense is not None:
            raise UsageError("both --dense and --train-dense: expected one of them")
    elif dense is None and cfg == shipped and options["data"] == DATA:
        dense = shipped.with_suffix(".weights")
    names = (
        "data", "dense_epochs", "dense_images", "images", "held_out", "epochs", "batch", "learning_rate",
        "shift_pixels", "flip", "precision",
    )  # fmt: skip
    return Experiment(cfg=cfg, dense=dense, **{name: options[name] for name in names})


def _variants(options: dict[str, Any]) -> tuple[Variant, ...]:
    units = {name: Unit.parse(options[f"{name}_unit"]) for name in ("wavefront", "workgroup")}
    if options["variants"] is not None:
        return parse_variants(options["variants"], units=default_units(**units))
    return default_variants(**units)


if __name__ == "__main__":
    run_command(compare_methods)
