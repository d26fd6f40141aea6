"""What the scripts share at the terminal: a device option, errors on one line, tables on stdout, progress on stderr."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from clprune.errors import ClpruneError, UsageError
from clprune.progress import Progress, ProgressLines

_Command = TypeVar("_Command", bound=Callable[..., Any])


def device_option(function: _Command) -> _Command:
    """Add `--device`; the command receives the text or None, as `clprune.opencl.open_device` takes it."""
    text = "Index or part of a name, or gpu or cpu. Default: $CLPRUNE_DEVICE, $PYOPENCL_CTX, a GPU, a CPU."
    return click.option("--device", metavar="PLATFORM[:DEVICE]", help=text)(function)


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
