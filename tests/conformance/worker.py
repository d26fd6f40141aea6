"""A process under one driver that works part after part."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.drivers import ROOT, Driver
from tests.conformance.suite import RESULT, RUN, Result

#: Nothing that a part does takes longer between two lines: a driver that is silent for so long hangs.
SILENCE_S = 300
_MOST_CHARACTERS = 4000  # of what a process that ended left behind


def suite_command(driver: Driver) -> list[str]:
    """The suite as `driver` wants it."""
    options = ["--networks", str(driver.networks), "--hands", *map(str, driver.hands)]
    options += ["--pairs"] if driver.pairs else []
    options += ["--longest-source", str(driver.longest_source)] if driver.longest_source else []
    options += ["--wrong", json.dumps(driver.wrong)] if driver.wrong else []
    return [sys.executable, "-W", "ignore", "-m", "tests.conformance.suite", *options]


class Worker:
    """A driver that crashes or hangs takes the worker with it and the part that it was at, no other.

    `command`: reads names of parts from stdin and answers as `tests.conformance.suite` does.
    """

    def __init__(self, command: list[str], *, environment: Mapping[str, str], folder: Path) -> None:
        self._errors = folder / "stderr.txt"
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )

    @property
    def is_over(self) -> bool:
        """It has ended: another one must go on."""
        return self._process.poll() is not None

    def run(self, part: str, *, silence_s: float = SILENCE_S) -> Result:
        """The part's result; a failure that names the run at which the process ended, where it did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{part}\n")
            self._process.stdin.flush()
        run, others, is_silent = "before the first run", [], threading.Event()
        timer = self._timer(silence_s, is_silent)
        for line in self._process.stdout:
            timer.cancel()
            if line.startswith(RESULT):
                return Result(**json.loads(line.removeprefix(RESULT)))
            if line.startswith(RUN):
                run = line.removeprefix(RUN).strip()
            else:
                others.append(line)
            timer = self._timer(silence_s, is_silent)
        timer.cancel()
        status = self._process.wait()
        end = f"no sign of life for {silence_s:g} s" if is_silent.is_set() else f"ended with status {status}"
        left = "".join(others)[-_MOST_CHARACTERS:] + self._errors.read_text("utf-8", "replace")[-_MOST_CHARACTERS:]
        return Result(part=part, failures=[f"{run}: {end}:\n{left.strip()}"])

    def kill(self) -> None:
        """End the process with what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let the process end by itself, which it does at the end of its input."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(SILENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _timer(self, seconds: float, is_silent: threading.Event) -> threading.Timer:
        def end() -> None:
            is_silent.set()
            self.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        return timer
