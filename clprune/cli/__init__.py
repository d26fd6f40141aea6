"""The command line: one file per command, found by its name and imported when it is asked for."""

from __future__ import annotations

import atexit
import gc
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import click

from clprune.cli.common import one_line_errors
from clprune.version import __version__

#: New objects between two looks for garbage. A start makes many, which stay: the usual 700 cost a tenth of its time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


class LazyGroup(click.Group):
    """A group whose commands are the modules of this package that have a `command`: adding a file adds a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the modules here; those without a command have none to show (see `get_command`)."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name and return its `command`, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clprune")
def group() -> None:
    """Tune, prune and run darknet networks with OpenCL."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: status 0, 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    if arguments is None:  # the process is ours
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        atexit.register(gc.freeze)  # no last look for garbage: the system takes all memory back
    with one_line_errors():
        result = group.main(
            args=None if arguments is None else list(arguments), prog_name="clprune", standalone_mode=False
        )
    sys.exit(result if isinstance(result, int) else 0)
