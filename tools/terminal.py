"""What the scripts share at the terminal: options, errors on one line, tables on stdout, progress on stderr."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from clprune.errors import ClpruneError, UsageError
from clprune.progress import Progress, ProgressLines
from clprune.tuning.effort import EFFORTS

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: What takes a line of progress.
Say = Callable[[str], None]

COUNT = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0, min_open=True)

_DEVICE = "Index or part of a name, or gpu or cpu. Default: $CLPRUNE_DEVICE, $PYOPENCL_CTX, a GPU, a CPU."

#: Options that several scripts have: what `click.option` is told of them beside their default.
_SHARED: Mapping[str, Mapping[str, Any]] = {
    "device": {"metavar": "PLATFORM[:DEVICE]", "help": _DEVICE},
    "model": {"metavar": "M", "help": "A cfg, or the stem of a shipped one."},
    "rounds": {"type": COUNT, "help": "Rounds of timing."},
    "seed": {"type": click.IntRange(min=0), "metavar": "N", "help": "Of random weights, images and training."},
    "out": {"type": click.Path(path_type=Path), "help": "JSON file to write, with a page beside it."},
    "work": {"type": click.Path(path_type=Path), "help": "Folder of what is not finished: rows, networks, images."},
    "tune": {"type": SECONDS, "metavar": "SECONDS", "help": "Tune what is missing first, for so long at most."},
    "effort": {"type": click.Choice([one.name for one in EFFORTS]), "help": "Of the tuning that comes first."},
    "threads": {"type": COUNT, "help": "Threads that compute [default: all, or PyTorch's own choice]."},
    "epochs": {"type": COUNT, "help": "Epochs of each retraining; after the last step of pruning."},
    "images": {"type": COUNT, "help": "Images of an epoch."},
    "precision": {
        "type": click.Choice(["float32", "bfloat16"]),
        "help": "bfloat16 trains faster where the processor has it.",
    },
}


def options(**wanted: Any) -> Callable[[_Command], _Command]:
    """Add options by name, in their order: each its default, or a dict of what else `click.option` is told of it.

    One that several scripts have needs no more than its default; so does a flag (False). "flag" is another spelling.
    """

    def decorate(command: _Command) -> _Command:
        for name, given in reversed(wanted.items()):
            told = {**_SHARED.get(name, {}), **(given if isinstance(given, dict) else {"default": given})}
            default = told.get("default")
            if default is False:
                told["is_flag"] = True
            elif isinstance(default, int) and "type" not in told:
                told["type"] = COUNT
            elif isinstance(default, Path):
                told.setdefault("type", click.Path(path_type=Path))
            is_shown = default not in (None, False, ()) and not isinstance(default, Path)
            flag = told.pop("flag", f"--{name.replace('_', '-')}")
            command = click.option(flag, name, show_default=is_shown, **told)(command)
        return command

    return decorate


def run_command(command: click.Command) -> None:
    """Run a script's command; what a user can cause ends in one line on stderr."""
    try:
        command()
    except (ClpruneError, OSError) as error:
        click.echo(f"clprune: error: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def say(text: str) -> None:
    """Print a line of progress."""
    click.echo(text, err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Print a table; the first column is aligned to the left, the others to the right."""
    lines = [[str(cell) for cell in line] for line in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        line[:] = [line[0].ljust(len(first)), *others]
    click.echo("\n".join([title] * bool(title) + ["  ".join(line).rstrip() for line in lines]))


def counter(name: str, total: int) -> Callable[[], None]:
    """What to call when one of `total` pieces of work is done: says how many are, every half minute."""
    lines, done = ProgressLines(say), itertools.count(1)

    def tick() -> None:
        number = next(done)
        lines(Progress(stage=name, place=f"{number} of {total}", done=number, total=total))

    return tick
