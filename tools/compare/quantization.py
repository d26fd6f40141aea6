"""What fewer bits cost in accuracy: a network pruned weight by weight, retrained, coded, and retrained for its codes.

    python -m tools.compare.quantization            about an hour of one core; a killed run goes on where it was
    python -m tools.compare.quantization --quick    a minute, into --work, for a look at the way

Writes docs/results/quantization.md and .json. All seeds start from the shipped dense network; a seed moves what
retraining draws. Each coding starts from its seed's pruned network; with fewer --pruned-seeds, seeds share one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import torch

from clprune.errors import UsageError
from clprune.resources import models_folder
from tools import RESULTS
from tools.bench.report import write_section
from tools.compare.coded_experiment import CodedExperiment
from tools.compare.coded_others import measure_others, with_others
from tools.compare.coded_page import HEADING, coded_section, render_coded
from tools.compare.coded_runs import CodedSetting, do_run, prepare_coded
from tools.compare.codings import CodedRun, all_coded_runs
from tools.compare.files import RUNS
from tools.compare.journal import append_row, check_experiment, read_rows
from tools.terminal import device_option, print_table, run_command, say

OUT = RESULTS / "quantization.json"
STEM = "vgg16-digits"
DATA = "digits-on-photos"
QUICK = {
    "images": 1_280,
    "held_out": 1_000,
    "epochs": 1,
    "steps": 2,
    "step_epochs": 1,
    "distilled_epochs": 1,
    "seeds": 1,
}


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quantization"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write [default: in docs/results].")
@click.option("--sparsity", type=float, default=0.9, show_default=True, help="Share of all prunable layers' weights.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--pruned-seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Prune and retrain so many networks [default: one for each seed].",
)
@click.option("--images", type=click.IntRange(min=64), default=15_000, show_default=True, help="Images of an epoch.")
@click.option("--held-out", type=click.IntRange(min=1), help="Images that are evaluated [default: all].")
@click.option(
    "--other-held-out",
    type=click.IntRange(min=1),
    default=12_000,
    show_default=True,
    help="Images that are evaluated beside them, composed anew from the same originals.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=40, show_default=True, help="After the last step of pruning."
)
@click.option("--steps", type=click.IntRange(min=1), default=3, show_default=True, help="Of pruning.")
@click.option(
    "--step-epochs", type=click.IntRange(min=1), default=4, show_default=True, help="After each but the last."
)
@click.option("--learning-rate", default=0.03, show_default=True, help="Peak after pruning.")
@click.option(
    "--distilled-epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="After those, learning from the dense network's answers.",
)
@click.option("--distilled-rate", default=0.01, show_default=True, help="Peak of these.")
@click.option(
    "--distillation",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the loss that comes from those answers, there and in retraining for codes.",
)
@click.option("--temperature", default=2.0, show_default=True, help="That softens them.")
@click.option(
    "--distilled-dropout",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="What multiplies dropout there: about the square root of the kept share.",
)
@click.option("--coded-rate", default=0.01, show_default=True, help="Peak of retraining for codes.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--report-only", is_flag=True, help="Train nothing: the tables of what is there.")
@click.option("--quick", is_flag=True, help="Few images and one seed; results into --work.")
@device_option
def compare_quantization(out: Path | None, device: str | None, **options: Any) -> None:
    """Prune, retrain, code, retrain, report."""
    is_training = not options.pop("report_only")
    if options.pop("quick"):
        options.update(QUICK)
        out = out or options["work"] / "quantization.json"
    work: Path = options.pop("work")
    pruned_seeds = options.pop("pruned_seeds") or options["seeds"]
    runs = all_coded_runs(seeds=options["seeds"], pruned_seeds=pruned_seeds)
    experiment = _experiment(options)
    check_experiment(read_rows(work / RUNS), key=experiment.key, path=work / RUNS)
    if is_training:
        torch.set_num_threads(options["threads"])
        _train(prepare_coded(experiment, work=work), runs, device=device)
    _report(work, runs, out=out or OUT, options=options)


def _train(setting: CodedSetting, runs: list[CodedRun], *, device: str | None) -> None:
    """Do what is not done yet."""
    journal = setting.work / RUNS
    for run in runs:
        if run.row_in(read_rows(journal)) is None:
            started = time.monotonic()
            row = do_run(setting, run, device=device)
            facts = {"experiment": setting.experiment.key, **vars(run)}
            append_row(journal, facts | {"train_s": round(time.monotonic() - started, 1)} | row)
            say(f"seed {run.seed}, {run.name}: {100 * row['accuracy']:.2f} %")
    measure_others(setting, read_rows(journal))


def _report(work: Path, runs: list[CodedRun], *, out: Path, options: dict[str, Any]) -> None:
    """Write what is there."""
    rows = with_others(read_rows(work / RUNS), work=work)
    found = [row for row in (run.row_in(rows) for run in runs) if row is not None]
    if not found:
        raise UsageError(f"no runs in {work}: expected those of a command without --report-only first")
    section = coded_section(found, options=options)
    write_section(out, f"{STEM}, {DATA}", section, heading=HEADING, render=render_coded)
    print_table(section["columns"], section["table"])


def _experiment(options: dict[str, Any]) -> CodedExperiment:
    cfg = models_folder() / f"{STEM}.cfg"
    decisive = {name: value for name, value in options.items() if name not in ("seeds", "threads")}
    return CodedExperiment(cfg=cfg, data=DATA, dense=cfg.with_suffix(".weights"), **decisive)


if __name__ == "__main__":
    run_command(compare_quantization)
