"""What every command shares: errors on one line, options of one name, tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from clprune.errors import ClpruneError, UsageError

if TYPE_CHECKING:  # importing rich takes longer than running a small network: where it is used
    from rich.console import Console
    from rich.progress import Progress

PIPED_WIDTH = 200  # columns: a pipe has no edge at which a table would have to wrap
STATUS_FAILURE = 1
STATUS_USAGE = 2
STATUS_INTERRUPTED = 130

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(function: _Command) -> _Command:
    """Add `--json`; the command receives it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def device_option(function: _Command) -> _Command:
    """Add `--device`; the command receives the text or None and passes it to `clprune.opencl.open_device`."""
    return click.option(
        "--device",
        metavar="PLATFORM[:DEVICE]",
        default=None,
        help="Index or part of a name, or gpu or cpu. Default: $CLPRUNE_DEVICE, $PYOPENCL_CTX, a GPU, a CPU.",
    )(function)


def stdout_console() -> Console:
    """Return the console for results; piped output is as wide as it needs to be, unless COLUMNS says otherwise."""
    from rich.console import Console

    piped_width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=piped_width)


def stderr_console() -> Console:
    """Return the console for progress and notes."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout. NaN and infinities, which JSON does not have, are a bug and raise ValueError."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    click.echo(text, err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table on stdout; columns whose cells are all numbers are aligned to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    texts = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numbers = bool(texts) and all(_is_number(row[index]) for row in texts)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in texts:
        table.add_row(*row)
    stdout_console().print(table)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress with an estimate of the time left on stderr, only when that is a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    is_terminal = sys.stderr.isatty()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr_console(),
        disable=not is_terminal,
        transient=True,
    )
    if not is_terminal:
        yield progress  # never started: starting and stopping a disabled one still prints a line in older versions
        return
    with progress:
        yield progress


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and an exit status; anything else surfaces as a bug."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            yield
            sys.stdout.flush()
        except click.exceptions.Abort:
            sys.exit(STATUS_INTERRUPTED)
        except KeyboardInterrupt:
            sys.exit(STATUS_INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(STATUS_USAGE)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "clprune"
            _exit_with(f"{error.format_message()} (try '{command} --help')", status=STATUS_USAGE)
        except click.ClickException as error:
            _exit_with(error.format_message(), status=error.exit_code)
        except UsageError as error:
            _exit_with(str(error), status=STATUS_USAGE)
        except ClpruneError as error:
            _exit_with(str(error), status=STATUS_FAILURE)
        except BrokenPipeError:
            _forget_stdout()
            sys.exit(STATUS_FAILURE)
        except OSError as error:
            _exit_with(f"{error.filename}: {error.strerror}" if error.filename else str(error), status=STATUS_FAILURE)
        except MemoryError:
            _exit_with("not enough memory", status=STATUS_FAILURE)


def print_error(message: str) -> None:
    """Print an error on stderr for a command that goes on, such as one unreadable image of many."""
    click.echo(f"clprune: error: {message}", err=True)


def _exit_with(message: str, *, status: int) -> None:
    print_error(message)
    sys.exit(status)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning like an error, without the place in our code where it was noticed."""
    click.echo(f"clprune: warning: {message}", err=True)


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing at its end: the reader of the pipe has gone."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _is_number(text: str) -> bool:
    try:
        float(text.strip().rstrip("%x").replace(",", ""))
    except ValueError:
        return text.strip() in {"", "-"}
    return True
