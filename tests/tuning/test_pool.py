"""Worker processes: what a candidate does wrong costs that candidate, and never another one."""

from __future__ import annotations

import _thread
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clprune.device import DeviceInfo
from clprune.errors import NoDeviceError
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tuning.pool import MOST_LOSSES_FROM_OUTSIDE, MOST_OPENINGS, Worker, WorkerPool
from clprune.tuning.trial import Trial
from tests.tuning.kernels import ODD, OddOperation, OddTile

FINE, SLOWER = OddTile(), OddTile(repeats=2)
OPERATION = OddOperation()


@pytest.fixture(scope="module")
def pool(device_context: Session) -> Iterator[WorkerPool]:
    with WorkerPool(device_context.info, count=2, limit_s=60) as opened:
        opened.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        yield opened


def evaluate(pool: WorkerPool, *moods: str) -> list[Trial]:
    """Candidates of these moods, between two that are fine."""
    tiles = [FINE, *(OddTile(mood=mood) for mood in moods), SLOWER]
    first, *outcomes, last = pool.evaluate(tiles, best_ms=None)
    assert (first.tile, last.tile) == (FINE, SLOWER)
    for outcome in (first, last):
        assert outcome.invalidity == "correct"
        assert outcome.time_ms is not None and outcome.time_ms == min(outcome.runs_ms) > 0
        assert outcome.relative_error == 0
    return outcomes


def times_of(pool: WorkerPool, tiles: list[OddTile], *, rounds: int) -> dict[OddTile, int]:
    """How many runs of each tile a comparison in turns gave."""
    return {trial.tile: len(trial.runs_ms) for trial in pool.run_in_turns(tiles, rounds=rounds)}


def test_refusals_have_the_words_of_the_exchange_format(pool: WorkerPool) -> None:
    outcomes = evaluate(pool, "syntax", "wrong", "stray")
    assert [outcome.invalidity for outcome in outcomes] == ["compile", "correctness", "correctness"]
    assert all(outcome.time_ms is None and outcome.detail for outcome in outcomes)
    assert "outside its output" in outcomes[2].detail


@pytest.mark.usefixtures("quick_candidates")
def test_crash_costs_one_candidate(pool: WorkerPool) -> None:
    crash, leaving = evaluate(pool, "crash", "exit")
    assert (crash.invalidity, leaving.invalidity) == ("runtime", "runtime")
    assert "status 3: the driver says good-bye" in leaving.detail
    evaluate(pool)


def test_hang_costs_one_candidate_and_its_time_limit(device_context: Session) -> None:
    with WorkerPool(device_context.info, count=1, limit_s=2) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        (hang,) = pool.evaluate([OddTile(mood="hang")], best_ms=None)
        assert (hang.invalidity, hang.time_ms) == ("timeout", None)
        assert "2 s" in hang.detail
        pool._limit_s = 60  # that of the hang is short for a busy machine
        assert pool.evaluate([FINE], best_ms=None)[0].invalidity == "correct"


@pytest.mark.usefixtures("quick_candidates")
def test_what_hangs_at_the_end_of_all_is_given_up_and_not_blamed(device_context: Session) -> None:
    """However long one candidate may take, and whether it is prepared or opens its device; the pool can go on."""
    hang = OddTile(mood="hang")
    with WorkerPool(device_context.info, count=1, limit_s=600) as pool:
        pool.wait_until_open()
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        pool.end_s = time.monotonic() + 2
        assert pool.evaluate([hang], best_ms=None) == []
        assert (pool.is_over, pool.has_losses) == (True, False)
        assert pool.evaluate([FINE], best_ms=None) == pool.run_in_turns([FINE], rounds=2) == []
        pool.end_s = math.inf
        assert times_of(pool, [FINE, SLOWER], rounds=2) == {FINE: 2, SLOWER: 2}
        pool.end_s = time.monotonic() + 2
        assert [trial.tile for trial in pool.run_in_turns([FINE, hang], rounds=2)] in ([], [FINE])
        pool.end_s = math.inf
        assert evaluate(pool, "wrong")[0].invalidity == "correctness"


def test_a_process_that_does_not_even_read(device_context: Session) -> None:
    """What is sent is more than a pipe takes."""
    large = OddOperation(length=1_000_000)
    with WorkerPool(device_context.info, count=1, limit_s=600) as pool:
        pool.wait_until_open()
        pool._workers[0]._process.send_signal(signal.SIGSTOP)
        pool.set_task(ODD, large, ODD.sample(large, Workload()))
        pool.end_s = time.monotonic() + 1
        assert pool.evaluate([FINE], best_ms=None) == []
        pool.end_s = math.inf
        assert [trial.invalidity for trial in pool.evaluate([FINE], best_ms=None)] == ["correct"]


def test_processes_that_do_not_open_their_device_in_time(device_context: Session) -> None:
    with WorkerPool(device_context.info, count=1) as pool:
        pool._workers[0]._process.send_signal(signal.SIGSTOP)
        pool.end_s = time.monotonic() + 0.5
        with pytest.raises(NoDeviceError, match=r"no worker process opened .* in time"):
            pool.wait_until_open()


@pytest.mark.usefixtures("quick_candidates")
def test_one_process_that_does_not_open_its_device_is_replaced(device_context: Session) -> None:
    with WorkerPool(device_context.info, count=2) as pool:
        pool.keep_only(())
        pool._replace(1)
        other, stopped = pool._workers
        stopped._process.send_signal(signal.SIGSTOP)
        pool.end_s = time.monotonic() + 4  # which the other one, asked first, has for its answer
        pool.wait_until_open()
        assert pool._workers[0] is other
        assert pool._workers[1] is not stopped
        pool.end_s = math.inf
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        evaluate(pool)


def test_hopeless_candidates_are_not_timed_alone(pool: WorkerPool) -> None:
    slow = OddTile(mood="slow")
    (outcome,) = pool.evaluate([slow], best_ms=1e-4)
    assert outcome.invalidity == "correct"
    assert not outcome.is_alone
    (outcome,) = pool.evaluate([slow], best_ms=None)
    assert outcome.is_alone


@pytest.fixture
def kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """What lets processes with an unlucky tile be killed so many times; returns the file that counts down."""
    monkeypatch.setenv("ODD_KILLS", str(tmp_path / "kills"))

    def set_count(count: int) -> Path:
        (tmp_path / "kills").write_text(str(count))
        return tmp_path / "kills"

    return set_count


def kill_as_they_start(monkeypatch: pytest.MonkeyPatch, count: int) -> list[Worker]:
    """Kill the next `count` workers before they have opened the device; returns all that start from now on."""
    started: list[Worker] = []
    start = Worker.__init__

    def start_and_die(worker: Worker, info: DeviceInfo) -> None:
        start(worker, info)
        started.append(worker)
        if len(started) <= count:
            worker.kill()

    monkeypatch.setattr(Worker, "__init__", start_and_die)
    return started


@pytest.mark.usefixtures("quick_candidates")
def test_workers_killed_while_opening_are_replaced(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    started = kill_as_they_start(monkeypatch, 4)
    with WorkerPool(device_context.info, count=1) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        evaluate(pool)
    assert len(started) == 5


@pytest.mark.usefixtures("quick_candidates")
def test_workers_that_never_open_are_given_up(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    started = kill_as_they_start(monkeypatch, 1000)
    with WorkerPool(device_context.info, count=1) as pool, pytest.raises(NoDeviceError, match="ended with status -9"):
        pool.keep_only([])
    assert MOST_OPENINGS <= len(started) <= MOST_OPENINGS + 1


@pytest.mark.usefixtures("quick_candidates")
def test_killed_three_times_in_a_row_is_not_the_tile(device_context: Session, kills: Callable[[int], Path]) -> None:
    unlucky, file = OddTile(mood="unlucky"), kills(3)
    with WorkerPool(device_context.info, count=2) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        (outcome,) = evaluate(pool, "unlucky")
        assert (outcome.invalidity, file.read_text()) == ("correct", "0")
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        kills(2)
        assert times_of(pool, [FINE, unlucky], rounds=2) == {FINE: 2, unlucky: 2}
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        kills(MOST_LOSSES_FROM_OUTSIDE)
        (outcome,) = evaluate(pool, "unlucky")
        assert (outcome.invalidity, outcome.is_lost) == ("runtime", True)


@pytest.mark.usefixtures("quick_candidates")
def test_worker_killed_between_requests_costs_no_candidate(device_context: Session) -> None:
    """What it had prepared is prepared again, and nothing of the final comparison is lost."""
    with WorkerPool(device_context.info, count=1) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        evaluate(pool)
        for worker in pool._workers:
            worker.kill()
        assert times_of(pool, [FINE, SLOWER], rounds=2) == {FINE: 2, SLOWER: 2}


@pytest.mark.usefixtures("quick_candidates")
def test_comparison_in_turns(pool: WorkerPool) -> None:
    """Tiles that were not prepared yet, or whose worker was lost, are prepared; what cannot run has no time."""
    pool.keep_only([])
    crash = OddTile(mood="crash")
    fine, lost, slower = pool.run_in_turns([FINE, crash, SLOWER], rounds=3)
    assert (lost.tile, lost.time_ms, lost.invalidity, lost.is_lost) == (crash, None, "runtime", True)
    assert [trial.tile for trial in (fine, slower)] == [FINE, SLOWER]
    for trial in (fine, slower):
        assert (len(trial.runs_ms), trial.time_ms, trial.relative_error) == (3, min(trial.runs_ms), 0.0)
        assert trial.build_ms
    assert times_of(pool, [FINE, SLOWER], rounds=2) == {FINE: 2, SLOWER: 2}


def test_a_refusal_in_a_comparison_costs_one_candidate(pool: WorkerPool) -> None:
    """Such as a launch for which the driver has no resources any more."""
    tired = OddTile(mood="tired")
    fine, refused, slower = pool.run_in_turns([FINE, tired, SLOWER], rounds=3)
    assert (refused.tile, refused.time_ms, refused.invalidity, refused.is_lost) == (tired, None, "runtime", False)
    assert refused.detail == "CL_OUT_OF_RESOURCES"
    assert [(trial.tile, len(trial.runs_ms)) for trial in (fine, slower)] == [(FINE, 3), (SLOWER, 3)]


def test_our_own_bugs_surface(device_context: Session) -> None:
    with WorkerPool(device_context.info, count=1) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug of ours"):
            pool.evaluate([OddTile(mood="bug")], best_ms=None)


def test_device_that_is_not_there(device_context: Session) -> None:
    gone = replace(device_context.info, platform_index=99)
    with WorkerPool(gone, count=1) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        with pytest.raises(NoDeviceError, match="not there any more"):
            pool.evaluate([FINE], best_ms=None)


def test_interrupt_does_not_wait_for_a_hanging_candidate_and_the_pool_can_go_on(device_context: Session) -> None:
    with pytest.raises(KeyboardInterrupt), WorkerPool(device_context.info, count=1, limit_s=600) as pool:
        pool.set_task(ODD, OPERATION, ODD.sample(OPERATION, Workload()))
        pool.evaluate([FINE], best_ms=None)
        threading.Timer(0.3, _thread.interrupt_main).start()
        try:
            pool.evaluate([OddTile(mood="hang")], best_ms=None)
        finally:
            pool.cancel()
            assert times_of(pool, [FINE, SLOWER], rounds=1) == {FINE: 1, SLOWER: 1}
