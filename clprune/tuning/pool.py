"""Worker processes that evaluate candidates: what they build and verify in parallel, they time one at a time.

A driver that crashes or hangs takes a worker with it, never the search: a new worker takes the place of the old one,
candidates that had been prepared there are prepared again, and the one that was being worked on gets another chance
with nothing beside it. It counts as invalid only when its worker ends then, too.

Whatever is under way when the time of all is over is given up, and none of it blamed.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, cast

from clprune.closing import Closing
from clprune.device import DeviceInfo
from clprune.errors import ClpruneError, NoDeviceError
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Kernel
from clprune.tiles.records import RUNTIME, TIMEOUT
from clprune.tuning.trial import EARLY_STOP, Prepared, Trial
from clprune.tuning.worker import ENVIRONMENT, receive, send
from clprune.turns import in_turns

#: Opening a device the first time may take drivers this long.
OPEN_SECONDS = 120.0
MOST_WORKERS = 8

#: So many workers in the place of one may end before they have been asked for anything; then the device is at fault.
MOST_OPENINGS = 10

#: A candidate that ends its worker so often is at fault; more often where it looks as if somebody else ended it.
MOST_LOSSES, MOST_LOSSES_FROM_OUTSIDE = 2, 4

_OUTSIDE_SIGNALS = tuple(getattr(signal, name, None) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"))
_COMMAND = "import sys; sys.path[:] = {path!r}; from clprune.tuning.worker import main; main()"
_BUG_MARK = "Traceback (most recent call last)"
_LEAST_SECONDS = 1.0  # for requests that take no time, once it is over
_POLL_SECONDS = 0.2  # a wait without an end would not hear Ctrl-C on every system


class WorkerLost(Exception):
    """The process ended or was ended; `invalidity` says what its candidate is to be called.

    `is_from_outside`: by a signal that drivers do not die of. `is_early`: before it was asked for anything.
    """

    def __init__(self, message: str, *, invalidity: str, is_from_outside: bool = False) -> None:
        self.invalidity, self.is_from_outside, self.is_early = invalidity, is_from_outside, False
        super().__init__(message)


class Worker:
    """One process with a device, which it opens while others start; the first `call` waits for that."""

    def __init__(self, info: DeviceInfo) -> None:
        """Start the process and return at once."""
        self.is_open, self._task = False, b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the process, see close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **ENVIRONMENT},
        )
        self._requests = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)
        self._send(pickle.dumps(("open", (info,))))

    def call(self, request: bytes, *, task: bytes, limit_s: float, end_s: float) -> Any:
        """The answer to a pickled (method, arguments), given `task` before, within `limit_s` seconds and by about
        `end_s` of time.monotonic(). Raises WorkerLost, NoDeviceError.

        Ctrl-C ends the process: nobody would read its answer.
        """
        try:
            self._get_ready(task, end_s)
            return self._answer(request, _within(limit_s, end_s))
        except KeyboardInterrupt:
            self._process.kill()
            raise

    def _get_ready(self, task: bytes, end_s: float) -> None:
        """Wait until the device is open and `task` is known there. Raises WorkerLost that is early."""
        try:
            if not self.is_open:
                refusal = self._answer(b"", _within(OPEN_SECONDS, end_s))
                if isinstance(refusal, ClpruneError):
                    raise refusal
                self.is_open = True
            if task is not self._task:
                self._answer(task, _within(OPEN_SECONDS, end_s))
                self._task = task
        except WorkerLost as loss:
            loss.is_early = True
            raise

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process, whatever it is doing; calls that wait for it raise WorkerLost."""
        self._process.kill()

    def close(self) -> None:
        """Kill, and give back pipes and files. No call may be waiting any more."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # what the process never read is written once more, in vain
                pipe.close()
        self._errors.close()

    def _send(self, request: bytes) -> None:
        with suppress(OSError):  # its end shows when the answer is awaited
            send(self._requests, request)

    def _answer(self, request: bytes, limit_s: float) -> Any:
        """The answer to `request`, or of none to what was sent before. A process that hangs does not even read."""
        is_late = threading.Event()

        def end_it() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, end_it)
        timer.start()
        try:
            if request:
                self._send(request)
            return receive(self._answers)
        except (EOFError, OSError, ValueError):
            status = self._process.wait()
        finally:
            timer.cancel()
        if is_late.is_set():
            raise WorkerLost(f"no answer within {limit_s:.0f} s", invalidity=TIMEOUT)
        said = self._last_words()
        if _BUG_MARK in said:
            raise RuntimeError(f"a worker process failed:\n{said}")
        message = f"the process ended with status {status}: {said.strip()[-300:]}"
        raise WorkerLost(message, invalidity=RUNTIME, is_from_outside=-status in _OUTSIDE_SIGNALS)

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


class WorkerPool(Closing):
    """A fixed number of workers on one device; use it as a context manager.

    `limit_s` bounds one request: build, run and check of one candidate; at `end_s` of time.monotonic(), which may be
    set anew, all of them end. Raises NoDeviceError, at the first use, when workers cannot open the device, and
    RuntimeError for a bug in one of them.
    """

    def __init__(self, info: DeviceInfo, *, count: int | None = None, limit_s: float = 30.0) -> None:
        """Start `count` processes (by default one per core, at most eight) and return at once."""
        self._info, self._limit_s, self.end_s = info, limit_s, math.inf
        self.count = count or min(available_cores(), MOST_WORKERS)
        self._task = b""
        self._holders: dict[Any, int] = {}  # prepared tile -> number of the worker that holds it
        self._prepared: dict[Any, Prepared] = {}  # what preparing tiles told
        self._losses: dict[Any, list[WorkerLost]] = {}  # tile -> how workers ended that were busy with it
        self._holders_lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(self.count)]  # one request at a time per worker
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="clprune-tuning")
        self._workers = [Worker(info) for _ in range(self.count)]
        self._futures: list[Future[None]] = []
        self._is_giving_up = False

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._is_giving_up = True
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def cancel(self) -> None:
        """Give up what workers are doing, after Ctrl-C; new ones take the place of those that were busy."""
        self._is_giving_up = True
        for worker, lock in zip(self._workers, self._locks, strict=True):
            if lock.locked():
                worker.kill()
        wait(self._futures)
        self._is_giving_up = False
        for number, worker in enumerate(self._workers):
            if worker.has_ended:
                self._replace(number)

    @property
    def has_losses(self) -> bool:
        """Whether workers ended that were busy with candidates of this task."""
        return bool(self._losses)

    @property
    def is_over(self) -> bool:
        """Whether nothing is begun any more."""
        return self._is_giving_up or time.monotonic() >= self.end_s

    def set_task(self, kernel: Kernel[Any, Any], operation: Any, sample: Sample) -> None:
        """From now on candidates are tiles of `kernel` for `operation`, checked on `sample`."""
        self._task = pickle.dumps(("set_task", (kernel, operation, sample)), protocol=5)
        for known in (self._holders, self._prepared, self._losses):
            known.clear()

    def evaluate(self, tiles: Sequence[Any], *, best_ms: float | None, until: float = math.inf) -> list[Trial]:
        """Outcomes in the order of `tiles`; those that were timed stay prepared until `keep_only`. None is begun after
        `until` (of time.monotonic), and those have none; nor has what is given up at `end_s`.
        """
        outcomes: dict[Any, Trial] = {}
        waiting, until = list(tiles), min(until, self.end_s)
        while waiting and time.monotonic() < until:
            outcomes |= self._prepare_all(waiting, best_ms, until=until)
            for tile in waiting:
                if tile in outcomes or tile not in self._holders or time.monotonic() > until:
                    continue
                outcome = self._outcome(self._holders[tile], "time", tile, best_ms)
                if outcome is None:
                    continue
                outcomes[tile] = outcome
                if outcome.time_ms is not None and outcome.is_alone:
                    best_ms = min(outcome.time_ms, best_ms or outcome.time_ms)
            waiting = [tile for tile in tiles if tile not in outcomes]  # their worker was lost
        return [outcomes[tile] for tile in tiles if tile in outcomes]

    def run_in_turns(self, tiles: Sequence[Any], *, rounds: int) -> list[Trial]:
        """`rounds` runs of each tile, one after the other in turns, after one that only warms up; in the order of
        `tiles`.

        A tile that cannot be prepared or run any more has no time; all others start anew without it. At `end_s` those
        that ran have the rounds that there were.
        """
        remaining, failed = list(tiles), dict[Any, Trial]()
        while True:
            failed |= self._prepare_all([tile for tile in remaining if tile not in self._holders], None)
            remaining = [tile for tile in remaining if tile not in failed]
            lost: dict[Any, Trial | None] = {}

            def run(tile: Any, lost: dict[Any, Trial | None] = lost) -> float | None:
                if lost or tile not in self._holders or self.is_over:
                    return None
                answer = self._outcome(self._holders[tile], "run", tile)
                if isinstance(answer, float):
                    return answer
                lost[tile] = answer
                return None

            runs = in_turns([partial(run, tile) for tile in remaining], rounds=rounds)
            if not lost or self.is_over:
                timed = {
                    tile: self._prepared[tile].timed(runs_ms)
                    for tile, runs_ms in zip(remaining, runs, strict=True)
                    if runs_ms
                }
                return [trial for tile in tiles if (trial := failed.get(tile) or timed.get(tile))]
            failed |= {tile: trial for tile, trial in lost.items() if trial is not None}
            remaining = [tile for tile in remaining if tile not in failed]

    def wait_until_open(self) -> None:
        """Wait for the processes to open their devices, until `end_s`. Raises NoDeviceError where they cannot, or none
        did by then; those that did not are replaced.
        """
        self.keep_only(())
        if not any(worker.is_open for worker in self._workers):
            raise NoDeviceError(f"no worker process opened {self._info.name} in time")

    def keep_only(self, tiles: Sequence[Any]) -> None:
        """Let the workers give back the device memory of every other prepared candidate."""
        with self._holders_lock:
            self._holders = {tile: number for tile, number in self._holders.items() if tile in tiles}
        for number in range(self.count):
            try:
                self._call(number, "keep_only", tuple(tiles))
            except WorkerLost:
                self._replace(number)

    # --- one worker ---

    def _outcome(self, number: int, method: str, tile: Any, *arguments: Any) -> Any:
        """A worker's answer about `tile`. Where the worker is lost, a Trial that says so, or None: it is to be asked
        again, with nothing beside it.
        """
        try:
            return self._call(number, method, tile, *arguments)
        except WorkerLost as loss:
            self._replace(number)
            if self.is_over:
                return None
            losses = self._losses.setdefault(tile, [])
            losses.append(loss)
            is_from_outside = all(each.is_from_outside for each in losses)
            if len(losses) < (MOST_LOSSES_FROM_OUTSIDE if is_from_outside else MOST_LOSSES):
                return None
            return Trial(tile=tile, invalidity=loss.invalidity, detail=str(loss), is_lost=True)

    def _call(self, number: int, method: str, *arguments: Any) -> Any:
        """A worker's answer. Raises WorkerLost, NoDeviceError where one after another ends while it gets ready."""
        request, openings = pickle.dumps((method, arguments)), 1
        while True:
            try:
                with self._locks[number]:
                    return self._workers[number].call(request, task=self._task, limit_s=self._limit_s, end_s=self.end_s)
            except WorkerLost as loss:
                if self.is_over or not loss.is_early:
                    raise
                if loss.invalidity == TIMEOUT or openings == MOST_OPENINGS:
                    raise NoDeviceError(f"no worker process can open the device: {loss}") from loss
            self._replace(number)
            openings += 1

    def _replace(self, number: int) -> None:
        """A new process for one that was lost; what the old one had prepared is lost with it."""
        with self._holders_lock:
            self._holders = {tile: holder for tile, holder in self._holders.items() if holder != number}
        with self._locks[number]:
            self._workers[number].close()
            if not self._is_giving_up:
                self._workers[number] = Worker(self._info)

    def _prepare_all(self, tiles: Sequence[Any], best_ms: float | None, *, until: float = math.inf) -> dict[Any, Trial]:
        """Prepare candidates in parallel; returns the outcomes of those that need no timing."""
        outcomes: dict[Any, Trial] = {}
        hopeless_ms = None if best_ms is None else best_ms * EARLY_STOP * self.count
        queue: deque[Any] = deque()

        def serve(number: int) -> None:
            while queue and not self.is_over and time.monotonic() < until:
                try:
                    tile = queue.popleft()
                except IndexError:
                    return
                answer = self._outcome(number, "prepare", tile, hopeless_ms)
                if isinstance(answer, Prepared):
                    with self._holders_lock:
                        self._holders[tile], self._prepared[tile] = number, answer
                elif answer is not None:
                    outcomes[tile] = answer

        waiting = list(tiles)
        try:
            while waiting and not self.is_over and time.monotonic() < until:
                queue.extend(tile for tile in waiting if tile not in self._losses)
                self._on_each(serve, self.count)
                queue.extend(tile for tile in waiting if tile in self._losses)
                self._on_each(serve, 1)
                waiting = [tile for tile in waiting if tile not in outcomes and tile not in self._holders]
        finally:
            queue.clear()  # after Ctrl-C: what nobody has begun
        return outcomes

    def _on_each(self, work: Callable[[int], None], count: int) -> None:
        """Run `work` for the first `count` workers' numbers at the same time; raises what one of them raises."""
        self._futures = [self._threads.submit(work, number) for number in range(count)]
        unfinished = set(self._futures)
        while unfinished:
            _, unfinished = wait(unfinished, timeout=_POLL_SECONDS)
        for future in self._futures:
            future.result()


def _within(limit_s: float, end_s: float) -> float:
    """Seconds for one answer."""
    return min(limit_s, max(end_s - time.monotonic(), _LEAST_SECONDS))


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
