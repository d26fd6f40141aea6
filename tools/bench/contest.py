"""Engines beside each other on one model: started, checked against float64, timed in turns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.errors import WorkerError
from clprune.turns import Series
from tools import ROOT
from tools.bench.agreement import TOLERANCE, relative_logit_error
from tools.bench.serve import FloatArray
from tools.bench.workers import Turn, Worker, time_in_rounds


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One row of the table: an engine and how it is loaded.

    `label` is unique. `weights_name` says whose answer it must give; `tolerance` how far its logits may be off.
    `command` starts its worker.
    """

    label: str
    engine: str
    weights_name: str
    command: tuple[str, ...]
    options: Mapping[str, Any]
    tolerance: float = TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a contestant; `relative_error` is of the logits, against the float64 reference."""

    label: str
    engine: str
    description: Mapping[str, Any]
    series: Series
    relative_error: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.relative_error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "label": self.label,
            "engine": self.engine,
            "description": dict(self.description),
            "relative_error": self.relative_error,
            "tolerance": self.tolerance,
            **self.series.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`rows` in the order of the contestants; `failures` says by label why there is no row."""

    rows: tuple[Row, ...]
    failures: Mapping[str, str] = field(default_factory=dict)


def worker_environment(threads: int) -> dict[str, str]:
    """Variables of a worker: where clprune and `tools` are, and the threads that libraries with OpenMP take."""
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(places),
        "OMP_NUM_THREADS": str(threads),
        "POCL_MAX_PTHREAD_COUNT": str(threads),
    }


def hold_contest(
    contestants: Sequence[Contestant],
    *,
    x: FloatArray,
    expected: Mapping[str, FloatArray],
    is_softmax: bool,
    cpus: Sequence[int],
    rounds: int,
    turn: Turn,
    say: Callable[[str], None],
) -> Outcome:
    """Start every contestant, compare its answer for `x` with `expected[weights_name]`, then time those that are right.

    A contestant that does not start, dies or answers something else is a failure and is not timed. `say` gets a line
    on each. Raises WorkerError when one dies while it is timed.
    """
    failures: dict[str, str] = {}
    errors: dict[str, float] = {}
    right: list[tuple[Contestant, Worker]] = []
    environment = worker_environment(len(cpus))
    with contextlib.ExitStack() as stack:
        for contestant in contestants:
            try:
                worker = stack.enter_context(_start(contestant, cpus=cpus, environment=environment))
                answer = worker.run(x)
            except WorkerError as error:
                failures[contestant.label] = str(error).partition(": ")[2]
                say(f"{contestant.label}: {failures[contestant.label]}")
                continue
            error_found = relative_logit_error(answer, expected[contestant.weights_name], is_softmax=is_softmax)
            errors[contestant.label] = error_found
            if error_found <= contestant.tolerance:
                right.append((contestant, worker))
                say(f"{contestant.label}: loaded, relative error {error_found:.1e}")
            else:
                failures[contestant.label] = f"relative error {error_found:.1e}, expected {contestant.tolerance:g}"
                say(f"{contestant.label}: {failures[contestant.label]}")
                worker.close()
        say(f"timing {len(right)} engines in {rounds} rounds")
        series = time_in_rounds([worker for _, worker in right], rounds=rounds, turn=turn)
    rows = tuple(
        Row(
            label=contestant.label,
            engine=contestant.engine,
            description=worker.description,
            series=times,
            relative_error=errors[contestant.label],
            tolerance=contestant.tolerance,
        )
        for (contestant, worker), times in zip(right, series, strict=True)
    )
    return Outcome(rows=rows, failures=failures)


def _start(contestant: Contestant, *, cpus: Sequence[int], environment: Mapping[str, str]) -> Worker:
    return Worker(
        contestant.command,
        name=contestant.label,
        engine=contestant.engine,
        options=contestant.options,
        cpus=cpus,
        environment=environment,
    )


#: Columns of `contest_table`.
ROW_COLUMNS = ("engine", "best ms", "median ms", "images/s", "relative error of the logits")


def contest_rows(rows: Sequence[Row], *, batch: int) -> list[tuple[str, ...]]:
    """Cells of a table, one line per engine."""
    return [
        (
            row.label,
            f"{row.series.best_ms:.3g}" if row.series.best_ms < 100 else f"{row.series.best_ms:.0f}",
            f"{row.series.median_ms:.3g}" if row.series.median_ms < 100 else f"{row.series.median_ms:.0f}",
            f"{1e3 * batch / row.series.best_ms:.4g}",
            f"{row.relative_error:.0e}",
        )
        for row in rows
    ]
