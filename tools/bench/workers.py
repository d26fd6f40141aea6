"""The parent's side: engines in processes of their own, of which only one is awake at a time.

Runtimes keep threads that wait for work by spinning, some for 200 ms after the last. A worker is therefore stopped
(SIGSTOP) as soon as it has answered and woken for its next turn: what an engine does between turns disturbs nobody.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clprune.errors import WorkerError
from clprune.turns import Series, in_turns
from tools.bench.serve import FloatArray

#: Loading a large model, first runs that compile it included.
START_SECONDS = 600.0
ANSWER_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a worker does when it is its turn: see `tools.bench.serve.timed`."""

    warmup: int = 2
    runs: int = 3
    seconds: float = 0.1


class Worker(AbstractContextManager["Worker"]):
    """One engine in a process. Use it as a context manager, or call `close()`.

    `command` starts a program that calls `tools.bench.serve.serve`; `engine` and `options` are what its loader
    gets; the process and its threads stay on `cpus`. `environment` is added to this process's; `answer_limit_s` is for
    every answer but the first. Every method raises WorkerError when the process dies or is late.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        engine: str,
        options: Mapping[str, Any],
        cpus: Sequence[int],
        environment: Mapping[str, str] | None = None,
        answer_limit_s: float = ANSWER_SECONDS,
    ) -> None:
        self.name = name
        self._answer_limit_s = answer_limit_s
        self._folder = tempfile.TemporaryDirectory(prefix="clprune-worker-")
        self._log = Path(self._folder.name) / "log"
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **(environment or {})},
                )
        except OSError as error:
            self._folder.cleanup()
            raise WorkerError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
        try:
            request = {"do": "start", "engine": engine, "options": dict(options), "cpus": list(cpus)}
            self.description: Mapping[str, Any] = self._ask(request, limit_s=START_SECONDS)
        except BaseException:
            self.close()
            raise

    def run(self, x: FloatArray) -> FloatArray:
        """float32 `[N, C, H, W]` to `[N, outputs]`; later turns are timed on the same `x`."""
        given, got = Path(self._folder.name) / "x.npy", Path(self._folder.name) / "y.npy"
        np.save(given, x)
        self._ask({"do": "run", "input": str(given), "output": str(got)})
        answer: FloatArray = np.load(got)
        return answer

    def time(self, turn: Turn) -> list[float]:
        """Milliseconds of the runs of one turn."""
        samples: list[float] = self._ask({"do": "time", "turn": vars(turn)})["samples_ms"]
        return samples

    def close(self) -> None:
        """End the process; calling it twice is harmless."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Mapping[str, Any], *, limit_s: float | None = None) -> Mapping[str, Any]:
        limit_s = self._answer_limit_s if limit_s is None else limit_s
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal("SIGCONT")
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(f"{self.name}: {self._last_words()}") from None
        if not select.select([self._process.stdout], [], [], limit_s)[0]:
            raise WorkerError(f"{self.name}: no answer to {request['do']!r} within {limit_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name}: {self._last_words()}")
        self._signal("SIGSTOP")
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def _signal(self, name: str) -> None:
        """Stop or wake the process, where the system can."""
        if hasattr(signal, name) and self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        """How the process ended: the last line of a traceback, else its status and whatever it said last."""
        status = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said and status == 1:
            return said[-1]
        return f"ended with status {status}" + (f" after {said[-1]!r}" if said else "")


def time_in_rounds(workers: Sequence[Worker], *, rounds: int, turn: Turn) -> list[Series]:
    """Time each worker in each of `rounds` rounds, one at a time. Raises WorkerError."""
    turns = in_turns([partial(worker.time, turn) for worker in workers], rounds=rounds, warmup=0, is_rotating=True)
    samples = [itertools.chain.from_iterable(times) for times in turns]
    return [Series(samples_ms=tuple(times)) for times in samples]
