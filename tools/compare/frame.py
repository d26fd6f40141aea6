"""What comparisons share: options, names in their folder of work, and runs of which those that are missing are done.

A comparison declares its experiment (whose key tells its rows from those of other settings), its runs, how one of them
is done, and its page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from clprune.errors import UsageError
from tools.compare.journal import Row, append_row, check_experiment, read_rows
from tools.terminal import COUNT, Say

#: The network that is compared, and its data, where nobody says otherwise.
STEM, DATA = "vgg16-digits", "digits-on-photos"

#: In the folder of work: a line for each run, and one for each network that was measured.
RUNS, TIMES = "runs.jsonl", "times.jsonl"

#: In the folder of work: the pruned networks, and the dense one where it was trained here.
MODELS, DENSE = "models", "dense.weights"

#: Options of training that comparisons share, with most of their defaults; so do the next two.
TRAINING: Mapping[str, Any] = {
    "held_out": {"type": COUNT, "help": "Images that are evaluated [default: all]."},
    "epochs": 2,
    "batch": {"default": 64, "help": "Images of a training step."},
    "learning_rate": {"default": 0.02, "help": "Peak of retraining."},
    "precision": "float32",
    "threads": None,
}
DISTILLATION: Mapping[str, Any] = {
    "distillation": {
        "type": click.FloatRange(0, 1),
        "default": 1.0,
        "help": "Share of retraining's loss that comes from the dense network's answers.",
    },
    "temperature": {"default": 2.0, "help": "That softens them."},
}
TIMING: Mapping[str, Any] = {
    "timing_batch": {"default": 32, "help": "Images at once when timed."},
    "rounds": 40,
    "tune": None,
    "again": {"default": False, "help": "Measure also what is measured; the calmest measurement counts."},
}
QUICK_OPTION = {"default": False, "help": "Few images, one seed; results into --work by default."}
ALSO = {
    "multiple": True,
    "metavar": "TEXT=FOLDER",
    "help": "A --work folder of other settings, which TEXT names; its accuracies are set beside these.",
}


class Run(Protocol):
    """One piece of work that ends in a row."""

    @property
    def title(self) -> str:
        """As progress names it."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What tells its row from those of others."""
        ...


RunT = TypeVar("RunT", bound=Run)
SettingT = TypeVar("SettingT")


def row_of(run: Run, rows: Sequence[Row]) -> Row | None:
    """The run's row where it is done, else None."""
    return next((row for row in rows if all(row[name] == value for name, value in run.facts.items())), None)


def do_missing(
    runs: Sequence[RunT],
    *,
    work: Path,
    key: str,
    prepare: Callable[[], SettingT],
    do: Callable[[SettingT, RunT], Mapping[str, Any]],
    say: Say,
) -> None:
    """Do all `runs` that have no row in `work` yet; each adds its row when it is done. `key` is the experiment's.

    Raises DataError for rows of other settings in that folder, and what `prepare` and `do` raise.
    """
    work.mkdir(parents=True, exist_ok=True)
    rows = experiment_rows(work, key=key)
    missing = [run for run in runs if row_of(run, rows) is None]
    say(f"{len(runs) - len(missing)} of {len(runs)} runs are done")
    if not missing:
        return
    setting = prepare()
    started = time.monotonic()
    for number, run in enumerate(missing, start=1):
        row = do(setting, run)
        append_row(work / RUNS, {"experiment": key, **row})
        left_s = (time.monotonic() - started) / number * (len(missing) - number)
        accuracy = f"accuracy {100 * row['accuracy']:.2f} % in {row['train_s']:.0f} s"
        say(f"{number}/{len(missing)} {run.title}: {accuracy}; {left_s / 60:.0f} min left")


def experiment_rows(work: Path, *, key: str) -> list[Row]:
    """The rows of all runs in a folder of work. Raises DataError for rows of other settings."""
    rows = read_rows(work / RUNS)
    check_experiment(rows, key=key, path=work / RUNS)
    return rows


def trained_rows(work: Path) -> list[Row]:
    """The rows of all runs in a folder of work. Raises UsageError where there are none."""
    if not (runs := read_rows(work / RUNS)):
        raise UsageError(f"no runs in {work}: expected the stage `train` first")
    return runs


def use_threads(count: int | None) -> None:
    """Let PyTorch use so many threads, None: its own choice."""
    if count:
        import torch

        torch.set_num_threads(count)
