"""Processes that try candidates, forked from one that has imported everything: they start in a fifth of the time.

Each times its candidates in few runs, and leaves most of the caches alone: enough where only the way is tried.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import IO, Any

import clprune.tuning.trial
from clprune.tuning import caches, worker

IS_POSSIBLE = sys.platform == "linux"
EVICTED_BYTES, MOST_RUNS = 2**16, 3

#: What the process that forks imports: workers, kernels, and what it takes for a module called __main__.
PRELOADED = ("pytest", "clprune.kernels.catalogue", "tests.forked", "tests.tuning.kernels")


#: What the pool starts a process with that is not forked.
COMMAND = "import sys; sys.path[:] = {path!r}; from tests.forked import main; main()"


def get_ready() -> None:
    """Start the process that forks, unless it runs: untraced, as what it forks."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOADED))
    counted, path = os.environ.pop("COVERAGE_PROCESS_CONFIG", None), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in (("COVERAGE_PROCESS_CONFIG", counted), ("PYTHONPATH", path)):
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def serve(requests: Connection, answers: Connection, errors: Connection, environment: Mapping[str, str]) -> None:
    """What a forked process does."""
    for number, end in enumerate((requests, answers, errors)):
        os.dup2(end.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    main()


def main() -> None:
    """A worker's own."""
    caches.EVICTED_BYTES, clprune.tuning.trial.MOST_RUNS = EVICTED_BYTES, MOST_RUNS
    worker.main()


class Forked:
    """What the pool uses of subprocess.Popen."""

    #: Two at once that look whether a process has ended would read one status.
    _lock = threading.Lock()

    def __init__(self, command: object, *, stdin: int, stdout: int, stderr: IO[bytes], env: Mapping[str, str]) -> None:
        read_requests, write_requests = os.pipe()
        read_answers, write_answers = os.pipe()
        self.stdin, self.stdout = open(write_requests, "wb"), open(read_answers, "rb")  # noqa: SIM115, PTH123
        ends = [Connection(end) for end in (read_requests, write_answers, os.dup(stderr.fileno()))]
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=serve, args=(*ends, dict(env)), daemon=True)
        with self._lock:
            self._process.start()
        for end in ends:
            end.close()

    def poll(self) -> int | None:
        with self._lock:
            return self._process.exitcode

    def wait(self) -> int:
        wait([self._process.sentinel])
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Processes:
    """What the pool uses of the module subprocess."""

    Popen: Any = Forked
    PIPE = subprocess.PIPE
