"""The child's side of a benchmark's worker: load one engine, then run and time it when the parent asks.

Requests and answers are one JSON object per line on standard input and output; arrays travel in `.npy` files. What a
library prints goes to standard error. The first request is `start`; an error ends the process, and its text is what
the parent reports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.turns import milliseconds

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A loaded network: its versions and settings, as JSON can hold them, and what runs it.

    `run` takes float32 `[N, C, H, W]` in host memory and returns when the answer `[N, outputs]` is there.
    """

    description: Mapping[str, Any]
    run: Callable[[FloatArray], FloatArray]


#: (name of the engine, its options) -> the loaded engine.
Loader = Callable[[str, Mapping[str, Any]], Engine]


def serve(load: Loader) -> None:
    """Answer requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    engine: Engine | None = None
    x = np.empty(0, np.float32)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            use_cpus(request["cpus"])
            engine = load(request["engine"], request["options"])
            answer = engine.description
        elif engine is None:
            raise ValueError(f"request {request['do']!r} before start")
        elif request["do"] == "run":
            x = np.load(request["input"])
            np.save(request["output"], engine.run(x))
            answer = {}
        else:
            answer = {"samples_ms": timed(engine, x, **request["turn"])}
        answers.write(json.dumps(answer) + "\n")


def use_cpus(cpus: list[int]) -> None:
    """Keep this process and every thread that it will start on these processors, where the system lets one say so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def timed(engine: Engine, x: FloatArray, *, warmup: int, runs: int, seconds: float) -> list[float]:
    """Milliseconds of each of at least `runs` runs on `x`, more until `seconds` have passed; `warmup` do not count."""
    for _ in range(warmup):
        engine.run(x)
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < runs or time.perf_counter() < end:
        samples.append(milliseconds(lambda: engine.run(x)))
    return samples
