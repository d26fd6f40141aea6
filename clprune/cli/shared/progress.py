"""Progress on stderr: a bar where that is a terminal, else a line now and then, so that a log shows how far work is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from clprune.cli.shared.text import stderr_console
from clprune.progress import OnProgress, Progress, ProgressLines, TimeLeft, duration_text, figures_text


@contextmanager
def show_progress(*, is_shown: bool = True) -> Iterator[OnProgress]:
    """What shows progress on stderr while the block runs; of several processes only one has it `is_shown`."""
    if not is_shown:
        yield lambda event: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield ProgressLines(lambda line: click.echo(line, err=True))


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    left = TimeLeft()
    with Bar(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task("", total=None, left="", figures="")
        stage = ""

        def show(event: Progress) -> None:
            nonlocal stage
            if event.stage != stage:
                stage = event.stage
                bar.reset(task)
            seconds = left.after(event)
            bar.update(
                task,
                description=f"{event.stage} {event.place}",
                completed=event.done,
                total=event.total,
                left="" if seconds is None else f"{duration_text(seconds)} left",
                figures=figures_text(event),
            )

        yield show
