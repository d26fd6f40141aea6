"""Engines beside each other on one model: started, checked against float64, timed in turns."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.errors import WorkerError
from clprune.turns import Series
from tools import ROOT
from tools.bench.agreement import TOLERANCE, relative_logit_error
from tools.bench.report import Part, table_of
from tools.bench.serve import FloatArray
from tools.bench.workers import Turn, Worker, time_in_rounds
from tools.terminal import Say


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One row of the table: an engine and how it is loaded.

    `label` is unique. `weights_name` says whose answer it must give; `tolerance` how far its logits may be off.
    `interpreter` is the Python that has the engine.
    """

    label: str
    engine: str
    weights_name: str
    options: Mapping[str, Any]
    tolerance: float = TOLERANCE
    interpreter: str = sys.executable


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
        facts = {name: value for name, value in vars(self).items() if name != "series"}
        return {**facts, **self.series.to_dict()}


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
    say: Say,
    worker: Sequence[str] = ("-m", "tools.bench.worker"),
) -> Outcome:
    """Start every contestant, compare its answer for `x` with `expected[weights_name]`, then time those that are right.

    A contestant that does not start, dies or answers something else is a failure and is not timed. `say` gets a line
    on each. `worker` is what an interpreter is told to run. Raises WorkerError when one dies while it is timed.
    """
    failures: dict[str, str] = {}
    right: list[tuple[Contestant, Worker, float]] = []
    environment = worker_environment(len(cpus))
    with contextlib.ExitStack() as stack:
        for one in contestants:
            command = (one.interpreter, *worker)
            try:
                started = stack.enter_context(
                    Worker(
                        command,
                        name=one.label,
                        engine=one.engine,
                        options=one.options,
                        cpus=cpus,
                        environment=environment,
                    )
                )
                error = relative_logit_error(started.run(x), expected[one.weights_name], is_softmax=is_softmax)
            except WorkerError as failure:
                failures[one.label] = str(failure).partition(": ")[2]
            else:
                if error <= one.tolerance:
                    right.append((one, started, error))
                else:
                    failures[one.label] = f"relative error {error:.1e}, expected {one.tolerance:g}"
                    started.close()
            say(f"{one.label}: {failures.get(one.label) or f'loaded, relative error {error:.1e}'}")
        say(f"timing {len(right)} engines in {rounds} rounds")
        series = time_in_rounds([started for _, started, _ in right], rounds=rounds, turn=turn)
    rows = tuple(
        Row(
            label=one.label,
            engine=one.engine,
            description=started.description,
            series=times,
            relative_error=error,
            tolerance=one.tolerance,
        )
        for (one, started, error), times in zip(right, series, strict=True)
    )
    return Outcome(rows=rows, failures=failures)


def contest_table(rows: Sequence[Row], *, batch: int) -> Part:
    """One line per engine."""

    def digits(time_ms: float) -> str:
        return f"{time_ms:.3g}" if time_ms < 100 else f"{time_ms:.0f}"

    lines = [
        (
            row.label,
            digits(row.series.best_ms),
            digits(row.series.median_ms),
            f"{1e3 * batch / row.series.best_ms:.4g}",
            f"{row.relative_error:.0e}",
        )
        for row in rows
    ]
    return table_of(("engine", "best ms", "median ms", "images/s", "relative error of the logits"), lines)
