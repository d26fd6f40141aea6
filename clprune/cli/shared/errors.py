"""Errors on one line with an exit status that scripts can trust, and standard streams that are always there."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from clprune.errors import ClpruneError, UsageError

STATUS_FAILURE = 1
STATUS_USAGE = 2
STATUS_INTERRUPTED = 130

#: Python's error, and PyTorch's, which is imported where it is needed only.
_NO_MEMORY = re.compile(r"^\w*MemoryError|^RuntimeError: .*can't allocate memory")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and an exit status; anything else surfaces as a bug."""
    _replace_closed_streams()
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
            _exit_with(
                ": ".join(str(part) for part in (error.filename, error.strerror or error) if part),
                status=STATUS_FAILURE,
            )
        except Exception as error:
            if isinstance(error.__cause__, KeyboardInterrupt):  # in a class that was being made, for instance
                sys.exit(STATUS_INTERRUPTED)
            if _NO_MEMORY.search(f"{type(error).__name__}: {error}"):
                _exit_with("not enough memory", status=STATUS_FAILURE)
            raise


def end_where_interrupted(lost: sys.UnraisableHookArgs) -> None:
    """For `sys.unraisablehook`: Ctrl-C in a finaliser, from where no exception comes out, would be told and lost."""
    if lost.exc_type is KeyboardInterrupt:
        os._exit(STATUS_INTERRUPTED)
    sys.__unraisablehook__(lost)


def print_error(message: str) -> None:
    """Print an error on stderr for a command that goes on, such as one unreadable image of many."""
    click.echo(f"clprune: error: {message}", err=True)


def _exit_with(message: str, *, status: int) -> None:
    print_error(message)
    sys.exit(status)


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """Show a warning like an error, without the place in our code where it was noticed."""
    click.echo(f"clprune: warning: {message}", err=True)


def _replace_closed_streams() -> None:
    """Put the null device in the place of closed standard streams, whose numbers the next files opened would take."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing at its end: the reader of the pipe has gone."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
