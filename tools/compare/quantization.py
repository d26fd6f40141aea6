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

from clprune.errors import UsageError
from clprune.resources import models_folder
from tools import RESULTS
from tools.bench.report import show, write_section
from tools.compare.coded_others import measure_others, with_others
from tools.compare.coded_page import HEADING, coded_section
from tools.compare.coded_runs import CodedSetting, do_run, prepare_coded
from tools.compare.codings import CodedRun, all_coded_runs
from tools.compare.experiment import CodedExperiment
from tools.compare.frame import (
    DATA,
    DISTILLATION,
    QUICK_OPTION,
    RUNS,
    STEM,
    TRAINING,
    do_missing,
    experiment_rows,
    row_of,
    use_threads,
)
from tools.compare.journal import read_rows
from tools.terminal import COUNT, options, run_command, say

QUICK = {
    "images": 1_280, "held_out": 1_000, "epochs": 1, "steps": 2, "step_epochs": 1, "distilled_epochs": 1, "seeds": 1,
}  # fmt: skip


@click.command()
@options(
    work=Path("build/quantization"),
    out=None,
    sparsity={"default": 0.9, "help": "Share of all prunable layers' weights."},
    seeds=3,
    images=15_000,
    **{**TRAINING, "epochs": 40, "learning_rate": 0.03, "precision": "bfloat16", "threads": 1},
    pruned_seeds={"type": COUNT, "metavar": "N", "help": "Prune so many networks [default: one for each seed]."},
    other_held_out={"default": 12_000, "help": "Images evaluated beside them, composed anew of the same originals."},
    steps={"default": 3, "help": "Of pruning."},
    step_epochs={"default": 4, "help": "After each but the last."},
    distilled_epochs={
        "type": click.IntRange(min=0),
        "default": 0,
        "help": "After those, learning from the dense network's answers.",
    },
    distilled_rate={"default": 0.01, "help": "Peak of these."},
    **{**DISTILLATION, "distillation": {**DISTILLATION["distillation"], "default": 0.0}},
    distilled_dropout={
        "type": click.FloatRange(0, 1),
        "default": 0.3,
        "help": "What multiplies dropout there: about the square root of the kept share.",
    },
    coded_rate={"default": 0.01, "help": "Peak of retraining for codes."},
    report_only={"default": False, "help": "Train nothing: the tables of what is there."},
    quick=QUICK_OPTION,
    device=None,
)
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
    experiment_rows(work, key=experiment.key)  # refuses those of other settings
    if is_training:
        use_threads(options["threads"])
        setting = prepare_coded(experiment, work=work)

        def do(setting: CodedSetting, run: CodedRun) -> dict[str, Any]:
            started = time.monotonic()
            row = do_run(setting, run, device=device)
            return {**run.facts, "train_s": round(time.monotonic() - started, 1), **row}

        do_missing(runs, work=work, key=experiment.key, prepare=lambda: setting, do=do, say=say)
        measure_others(setting, read_rows(work / RUNS))
    _report(work, runs, out=out or RESULTS / "quantization.json", options=options)


def _report(work: Path, runs: list[CodedRun], *, out: Path, options: dict[str, Any]) -> None:
    """Write what is there."""
    rows = with_others(read_rows(work / RUNS), work=work)
    found = [row for row in (row_of(run, rows) for run in runs) if row is not None]
    if not found:
        raise UsageError(f"no runs in {work}: expected those of a command without --report-only first")
    section = coded_section(found, options=options)
    write_section(out, f"{STEM}, {DATA}", section, heading=HEADING)
    show(f"{STEM}, {DATA}", section["parts"])


def _experiment(options: dict[str, Any]) -> CodedExperiment:
    cfg = models_folder() / f"{STEM}.cfg"
    decisive = {name: value for name, value in options.items() if name not in ("seeds", "threads")}
    return CodedExperiment(cfg=cfg, data=DATA, dense=cfg.with_suffix(".weights"), **decisive)


if __name__ == "__main__":
    run_command(compare_quantization)
