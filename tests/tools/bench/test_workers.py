"""Engines in processes of their own: answers, turns, sleep between turns, and every way of dying."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune.errors import WorkerError
from tools.bench.contest import Contestant, contest_table, hold_contest, worker_environment
from tools.bench.machine import usable_cpus
from tools.bench.workers import Turn, Worker, time_in_rounds

ENGINE = """
import os, sys, time
from tools.bench.serve import Engine, serve

def load(name, options):
    if options.get("fails"):
        raise ValueError("no such model")
    print("a library's greeting")
    def run(x):
        if options.get("dies"):
            os._exit(3)
        time.sleep(options.get("seconds", 0))
        return x.reshape(len(x), -1) * options.get("factor", 1)
    return Engine(description={"version": "1.0", "cpus": sorted(os.sched_getaffinity(0))}, run=run)

serve(load)
"""

X = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)

Start = Callable[..., Worker]


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, str]:
    script = tmp_path / "engine.py"
    script.write_text(ENGINE)
    return sys.executable, str(script)


@pytest.fixture
def start(command: tuple[str, str]) -> Start:
    def make(name: str = "toy", *, answer_limit_s: float = 60, **options: Any) -> Worker:
        return Worker(
            command,
            name=name,
            engine="toy",
            options=options,
            cpus=usable_cpus()[:1],
            environment=worker_environment(1),
            answer_limit_s=answer_limit_s,
        )

    return make


def test_answers(start: Start) -> None:
    with start(factor=3) as worker:
        assert worker.description == {"version": "1.0", "cpus": usable_cpus()[:1]}
        np.testing.assert_array_equal(worker.run(X), 3 * X.reshape(1, 6))


def test_a_turn_counts_runs_and_seconds(start: Start) -> None:
    with start() as worker:
        worker.run(X)
        assert len(worker.time(Turn(warmup=2, runs=5, seconds=0))) == 5
        assert len(worker.time(Turn(warmup=0, runs=1, seconds=0.5))) > 5


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_sleeps_between_turns(start: Start) -> None:
    with start() as worker:
        state = Path(f"/proc/{worker._process.pid}/stat")
        end = time.monotonic() + 60
        while (letter := state.read_text().rpartition(")")[2].split()[0]) != "T" and time.monotonic() < end:
            time.sleep(0.01)
        assert letter == "T"
        assert worker.run(X).shape == (1, 6)


def test_rounds(start: Start) -> None:
    with start("a") as first, start("b", seconds=0.002) as second:
        for worker in (first, second):
            worker.run(X)
        series = time_in_rounds([first, second], rounds=3, turn=Turn(warmup=0, runs=2, seconds=0))
    assert [len(times.samples_ms) for times in series] == [6, 6]
    assert series[1].best_ms >= 2


def test_an_error_is_the_workers_last_words(start: Start) -> None:
    with pytest.raises(WorkerError, match=r"^toy: ValueError: no such model$"):
        start(fails=True)


def test_sudden_death(start: Start) -> None:
    with (
        start(dies=True) as worker,
        pytest.raises(WorkerError, match=r"^toy: ended with status 3 after \"a library's greeting\"$"),
    ):
        worker.run(X)


def test_too_late(start: Start) -> None:
    late = pytest.raises(WorkerError, match=r"no answer to 'run' within 0\.05 s")
    with start(seconds=5, answer_limit_s=0.05) as worker, late:
        worker.run(X)


def test_no_such_program() -> None:
    with pytest.raises(WorkerError, match="toy: /absent/python cannot be started"):
        Worker(["/absent/python"], name="toy", engine="toy", options={}, cpus=[0])


def test_contest(command: tuple[str, str]) -> None:
    """The right one is timed; the wrong one and the one that does not start are failures."""
    expected = np.arange(6, dtype=np.float32).reshape(1, 6)
    contestants = [
        Contestant(label=label, engine="toy", weights_name="dense", options=options, interpreter=command[0])
        for label, options in (("right", {}), ("wrong", {"factor": 2}), ("broken", {"fails": True}))
    ]
    said: list[str] = []
    outcome = hold_contest(
        contestants,
        x=X,
        expected={"dense": expected},
        is_softmax=False,
        cpus=usable_cpus()[:1],
        rounds=2,
        turn=Turn(warmup=0, runs=1, seconds=0),
        say=said.append,
        worker=command[1:],
    )
    assert [row.label for row in outcome.rows] == ["right"]
    assert outcome.rows[0].agrees
    assert len(outcome.rows[0].series.samples_ms) == 2
    assert dict(outcome.failures) == {
        "wrong": "relative error 1.0e+00, expected 0.001",
        "broken": "ValueError: no such model",
    }
    assert said[-1] == "timing 1 engines in 2 rounds"
    assert contest_table(outcome.rows, batch=1)["rows"][0][0] == "right"  # type: ignore[index]
    assert outcome.rows[0].to_dict()["description"]["version"] == "1.0"
