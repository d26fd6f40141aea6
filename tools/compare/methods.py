"""Every pruning method, retrained alike and measured on one device; writes docs/results/methods.csv, .md and .svg.

python -m tools.compare.methods            over an hour on two cores; a killed run goes on where it was
python -m tools.compare.methods --quick    under five minutes, into --work, for a look at the way

Two stages that go on separately: `--stage train` (PyTorch, no device) makes the accuracies, `--stage measure` (a
device, no PyTorch) the milliseconds. `--stage all` does both; each ends with the tables of what is there,
which `--stage report` writes without doing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clprune.algorithms import ALGORITHMS, DEFAULT_MAX_ERROR, Algorithms
from clprune.errors import UsageError
from clprune.files import write_atomically
from clprune.resources import models_folder
from clprune.unit import Unit
from tools import RESULTS
from tools.compare.experiment import Experiment
from tools.compare.frame import ALSO, DATA, QUICK_OPTION, STEM, TIMES, TIMING, TRAINING, trained_rows, use_threads
from tools.compare.journal import Row, read_rows
from tools.compare.methods_page import comparison_page
from tools.compare.otherwise import other_runs
from tools.compare.plot import plot
from tools.compare.results import latest_times, other_times, points, results_csv
from tools.compare.variants import Variant, default_units, default_variants, parse_shares, parse_variants
from tools.terminal import SECONDS, options, run_command, say

_FILE = click.Path(path_type=Path, exists=True)
QUICK = {"images": 1_280, "held_out": 1_000, "epochs": 1, "seeds": 1, "sparsities": "0.75,0.9375"}


@click.command()
@options(
    stage={"type": click.Choice(["all", "train", "measure", "report"]), "default": "all"},
    work=Path("build/methods"),
    out={"help": "Where results go [default: docs/results]."},
    page={"default": "methods", "metavar": "STEM", "help": "Name of the files of results, without suffix."},
    about={"default": "", "metavar": "TEXT", "help": "What was compared on, for the page's first line."},
    also=ALSO,
    cfg={"type": _FILE, "help": f"The dense network [default: {STEM}.cfg]."},
    dense={"type": _FILE, "help": "Its weights [default: the shipped network's shipped ones, else trained first]."},
    train_dense={"default": False, "help": "Train the dense network in any case."},
    data={"default": DATA, "help": "As in `clprune train`, such as cifar10:PATH."},
    variants={"metavar": "NAME,...", "help": "METHOD[-ROWSxCOLUMNS][-permute],... [default: every method]."},
    wavefront_unit={"default": "8x1", "help": "Unit of wavefront, bcbp, block and mixed."},
    workgroup_unit={"default": "16x1", "help": "Unit of workgroup."},
    sparsities={"default": "0.5,0.75,0.875,0.9375", "help": "Shares of the convolutions' weights that go."},
    seeds=3,
    images=15_000,
    **TRAINING,
    dense_epochs=25,
    dense_images=40_000,
    shift_pixels={"type": click.IntRange(min=0), "default": 0},
    flip={"default": False, "help": "Mirror half of the training images."},
    quick=QUICK_OPTION,
    **TIMING,
    effort="quick",
    seconds={"type": SECONDS, "help": "Begin no further group after so long."},
    algorithms={"metavar": "LIST", "default": ",".join(ALGORITHMS), "help": "To choose from."},
    max_error={"default": DEFAULT_MAX_ERROR, "help": "As in `clprune bench`."},
    device=None,
)
def compare_methods(**options: Any) -> None:
    """Train, measure, report."""
    if options["quick"]:
        options.update(QUICK)
    sparsities = parse_shares(options["sparsities"])
    variants = _variants(options)
    experiment = _experiment(options)
    if options["stage"] in ("all", "train"):
        from tools.compare.retrain import all_runs, retrain_all

        use_threads(options["threads"])
        runs = all_runs(variants, sparsities, seeds=options["seeds"])
        retrain_all(experiment, runs, work=options["work"], say=say)
    if options["stage"] in ("all", "measure"):
        from tools.compare.measure import measure_all

        names = tuple(name.strip() for name in options["algorithms"].split(","))
        algorithms = Algorithms(names=names, max_error=options["max_error"])
        measure_all(
            experiment, options, algorithms=algorithms, effort=options["effort"], is_whole_groups=False, say=say
        )
    out = options["out"] or (options["work"] if options["quick"] else RESULTS)
    _report(options["work"], out / options["page"], about=options["about"], also=other_runs(options["also"]))


def _report(work: Path, stem: Path, *, about: str, also: Mapping[str, Sequence[Row]]) -> None:
    """Write what is there: all runs, with the times of the last device that was measured."""
    runs, every = trained_rows(work), read_rows(work / TIMES)
    times = latest_times(every)
    stem.parent.mkdir(parents=True, exist_ok=True)
    page = comparison_page(runs, times, stem=stem.name, about=about, others=other_times(every), otherwise=also)
    write_atomically(stem.with_suffix(".csv"), results_csv(runs, times))
    write_atomically(stem.with_suffix(".md"), page)
    if times:
        title = "Pruning methods, retrained alike: accuracy against measured time"
        where = f"{times[-1]['device']}, batch {times[-1]['batch']}"
        write_atomically(stem.with_suffix(".svg"), plot(points(runs, times), title=f"{title}\n{where}"))
    say(f"written: {stem}.csv, .md{' and .svg' if times else ''}")


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
