"""Results on stdout as tables and JSON, notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # importing rich takes longer than running a small network: where it is used
    from rich.console import Console

#: Columns: a pipe has no edge at which a table would have to wrap.
PIPED_WIDTH = 200


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


def print_json_list(facts: Mapping[str, Any], name: str, items: Iterable[Any]) -> None:
    """Print `facts` and, as `name`, a list of any length, each item in a line of its own when it is there."""
    click.echo("{" + "".join(f"\n  {_json(key)}: {_json(value)}," for key, value in facts.items()), nl=False)
    click.echo(f"\n  {_json(name)}: [", nl=False)
    number = 0
    for number, item in enumerate(items, start=1):
        click.echo(("," if number > 1 else "") + f"\n    {_json(item)}", nl=False)
    click.echo(("\n  " if number else "") + "]\n}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


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


def tile_text(tile: dict[str, Any]) -> str:
    """A tile's parameters as `name=value`, those that are 1, 0 or off left out."""
    return " ".join(f"{name}={value}" for name, value in tile.items() if value not in (0, 1))


def _is_number(text: str) -> bool:
    try:
        float(text.strip().rstrip("%x").replace(",", ""))
    except ValueError:
        return text.strip() in {"", "-"}
    return True


def matrix_unit_text(unit: str) -> str:
    """Which matrix unit a device has, and in which precisions it multiplies."""
    from clprune.kernels.matrix_unit import unit_precisions

    return f"{unit} ({', '.join(unit_precisions(unit))})" if unit else "none that is known"
