"""The command line: one file per command, found by its name and imported when it is asked for."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from clprune.cli.shared.errors import end_where_interrupted, one_line_errors
from clprune.version import __version__

#: New objects between two looks for garbage. A start makes many, which stay: the usual 700 cost a tenth of its time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


class LazyGroup(click.Group):
    """A group of the modules here whose text begins with their command's name: adding a file adds a command.

    None of them is imported for the list of commands.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name and return its `command`, or None."""
        if cmd_name not in _commands():
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, each with the first line of its module's text."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_commands().items()))


@functools.cache
def _commands() -> dict[str, str]:
    """Name -> what the command does, from the beginning of its module: `clprune NAME`: what it does."""
    commands = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        with path.open(encoding="utf-8") as file:
            start, _, rest = file.readline().strip().strip('"').partition("`: ")
        name = path.stem.replace("_", "-")
        if start == f"`clprune {name}":
            commands[name] = rest[:1].upper() + rest[1:]
    return commands


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clprune")
def group() -> None:
    """Tune, prune and run darknet networks with OpenCL."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: status 0, 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    if arguments is None:  # the process is ours
        sys.modules["mako.ext.pygmentplugin"] = None  # type: ignore[assignment]  # colours for errors: 40 ms of a start
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        atexit.register(gc.freeze)  # no last look for garbage: the system takes all memory back
        sys.unraisablehook = end_where_interrupted
    with one_line_errors():
        result = group.main(
            args=None if arguments is None else list(arguments), prog_name="clprune", standalone_mode=False
        )
    sys.exit(result if isinstance(result, int) else 0)
