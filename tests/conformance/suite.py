"""Parts of the suite on one driver: `echo conv | python -m tests.conformance.suite`.

Parts are the kernels of the catalogue by name, "networks" and "quirks"; their names are read from stdin, line by line.
On stdout every run is announced before it begins, so that a driver that crashes or hangs is blamed for that one, and
every part ends with its result as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clprune.candidate import Candidate, bind_case, compare_outputs, verify
from clprune.device import DeviceInfo
from clprune.errors import ClpruneError
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.catalogue import built_in_kernels, kernel_by_name
from clprune.opencl import Session, open_device
from clprune.runner import Runner
from clprune.runner.verify import verify_network
from tests.conformance.evidence import check_quirks
from tests.covering import HANDS, Point, covering_points, gpu_tiles_missed, in_built_groups, values_missed
from tests.random_networks import answers, random_network, tolerance

#: How lines on stdout begin that are not a driver's own.
RUN, RESULT = "conformance run: ", "conformance result: "
NETWORKS, QUIRKS = "networks", "quirks"
PARTS = (*(kernel.name for kernel in built_in_kernels()), NETWORKS, QUIRKS)


@dataclass(kw_only=True)
class Result:
    """What a part found. `runs` ran and were right; `refused` are points that the built kernel's own limits forbid."""

    part: str
    device: str = ""
    driver: str = ""
    runs: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, run: str, problem: str) -> None:
        """Count what came of a run."""
        if "the built kernel" in problem:
            self.refused += 1
        elif problem:
            self.failures.append(f"{run}: {problem}")
        else:
            self.runs += 1


class Log:
    """What Oclgrind reports, read piece by piece; nothing where another driver runs."""

    def __init__(self) -> None:
        self._path = Path(os.environ["OCLGRIND_LOG"]) if "OCLGRIND_LOG" in os.environ else None
        self._read = self._path.stat().st_size if self._path is not None and self._path.exists() else 0

    @property
    def is_kept(self) -> bool:
        return self._path is not None

    def new(self) -> str:
        """The first report since the last call, or empty."""
        if self._path is None or not self._path.exists():
            return ""
        with self._path.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._read)
            text = file.read()
            self._read = file.tell()
        return " ".join(text.split()[:40])


def run_kernel(session: Session, kernel: Kernel[Any, Any], result: Result, options: argparse.Namespace) -> None:
    """A covering sample of the kernel's space; each point twice, for the same bits."""
    log = Log()
    points = covering_points(
        kernel,
        session.info,
        pairs=options.pairs,
        hands=tuple(options.hands),
        longest_source=options.longest_source,
        left_out=tuple(tuple(values.items()) for values in options.wrong.get(kernel.name, ())),
        interprets=log.is_kept,
    )
    missed = [
        *values_missed(kernel, points),
        *gpu_tiles_missed(kernel, session.info, points, hands=tuple(options.hands)),
    ]
    if missed:
        result.failures.append(f"never tried: {missed}")
    _announce(f"{kernel.name}: build of {len(points)} points")
    for group in in_built_groups(session, kernel, points):
        _run_points(session, kernel, group, result, log)
        _announce(f"{kernel.name}: build of what follows {group[-1]}")
    if result.refused > len(points) / 2:
        result.failures.append(f"{result.refused} of {len(points)} points refused")


def _run_points(session: Session, kernel: Kernel[Any, Any], points: Sequence[Point], result: Result, log: Log) -> None:
    """Run each, and then each again.

    Between the runs of a point lie those of the others: rusticl compiles at a launch, and finds what it compiled for
    the one before only when that has reached its cache. Oclgrind interprets: a second time would tell nothing.
    """
    right: list[tuple[Point, Candidate]] = []
    for point in points:
        _announce(f"{kernel.name}: {point}")
        problem = _problem(partial(_run_point, session, kernel, point, right)) or log.new()
        if problem or log.is_kept:
            result.add(str(point), problem)
    for point, candidate in right if not log.is_kept else []:
        _announce(f"{kernel.name}, again: {point}")
        result.add(str(point), _problem(partial(_other_bits, session, candidate)))


def _run_point(session: Session, kernel: Kernel[Any, Any], point: Point, right: list[tuple[Point, Candidate]]) -> str:
    sample = kernel.sample(point.operation, point.workload)
    case = kernel.case(point.tile, point.operation, sample)
    candidate = bind_case(session, kernel, point.tile, point.operation, case)
    verify(session, candidate)
    right.append((point, candidate))
    return ""


def _other_bits(session: Session, candidate: Candidate) -> str:
    """Run again over the first answer."""
    first = [session.read(buffer, np.uint32, wanted.initial.shape) for buffer, wanted in candidate.outputs]
    candidate.bound.enqueue()
    compare_outputs(session, candidate)
    second = [session.read(buffer, np.uint32, wanted.initial.shape) for buffer, wanted in candidate.outputs]
    same = all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    return "" if same else "the second run gave other bits"


def run_networks(session: Session, result: Result, options: argparse.Namespace) -> None:
    """Random networks: default tiles, a GPU's and random ones in turn; batches of 1 to 3; half of them pruned."""
    log = Log()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.networks):
            _announce(f"random network {seed}")
            problem = _problem(partial(_run_network, session, Path(folder), seed, options))
            result.add(f"random network {seed}", problem or log.new())


def _run_network(session: Session, folder: Path, seed: int, options: argparse.Namespace) -> str:
    network, weights = random_network(folder, seed, batch=1 + seed % 3)
    lookup = (_default_tiles, _gpu_tiles, _random_tiles(session, seed, options.longest_source))[seed // 2 % 3]
    shape = network.input
    x = np.random.default_rng(seed).standard_normal((4, shape.channels, shape.height, shape.width), np.float32)
    with Runner(network, weights, session=session, lookup=lookup) as runner:
        got, again = runner(x), runner(x)
    wanted = answers(network, weights, x)
    error = float(np.abs(got - wanted).max()) / (float(np.abs(wanted).max()) or 1.0)
    if not error <= tolerance(network):
        return f"relative error {error:.1e} exceeds {tolerance(network):.1e}"
    if not np.array_equal(got, again):
        return "the second run gave other bits"
    with Runner(network, weights, session=session, lookup=lookup, keep_tensors=True) as runner:
        errors = verify_network(runner, weights, x[: network.batch])
    wrong = [f"{item.label} {item.relative_error:.1e} > {item.tolerance:.1e}" for item in errors if not item.is_within]
    return "; ".join(wrong)


def _default_tiles(offer: Offer) -> None:
    return None


def _gpu_tiles(offer: Offer) -> tuple[Any, str] | None:
    for tile in offer.kernel.gpu_tiles:
        if all(constraint.holds(tile, offer.operation) for constraint in offer.kernel.constraints):
            return tile, "gpu"
    return None


def _random_tiles(session: Session, seed: int, longest_source: int | None) -> Callable[..., tuple[Any, str] | None]:
    rng = np.random.default_rng(seed)

    def lookup(offer: Offer) -> tuple[Any, str] | None:
        kernel = offer.kernel
        for _ in range(200):
            values = {name: choices[int(rng.integers(len(choices)))] for name, choices in kernel.parameters.items()}
            tile = kernel.tile_type(**values)
            if offer.rejection(tile, session.info) is None and (
                longest_source is None or len(kernel.source(tile, offer.operation)) <= longest_source
            ):
                return tile, "random"
        return None

    return lookup


def _driver_text(info: DeviceInfo) -> str:
    """Platform and version of the driver, whose text some begin with their name."""
    is_named = info.driver_version.startswith(info.platform_name)
    return info.driver_version if is_named else f"{info.platform_name} {info.driver_version}"


def _problem(run: Callable[[], str]) -> str:
    """What went wrong, in words; our own bugs surface."""
    try:
        return run()
    except ClpruneError as error:
        return f"{type(error).__name__}: {error}"


def _announce(run: str) -> None:
    sys.stdout.write(f"\n{RUN}{run}\n")
    sys.stdout.flush()


def run_part(part: str, options: argparse.Namespace) -> Result:
    """Everything there is to one part, in a session of its own."""
    start = time.monotonic()
    with open_device(keeps_binaries=part == NETWORKS) as session:
        info = session.info
        result = Result(part=part, device=info.name, driver=_driver_text(info))
        if part == NETWORKS:
            run_networks(session, result, options)
        elif part == QUIRKS:
            evidence = check_quirks(session)
            result.runs, result.failures, result.notes = evidence.checks, evidence.failures, evidence.quirks
        else:
            run_kernel(session, kernel_by_name(part), result, options)
    return dataclasses.replace(result, seconds=time.monotonic() - start)


def main() -> None:
    """Run the parts that stdin names and print their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--hands", type=int, nargs="+", default=HANDS)
    parser.add_argument("--longest-source", type=int, default=None)
    parser.add_argument("--wrong", type=json.loads, default={})
    parser.add_argument("--networks", type=int, default=12)
    options = parser.parse_args()
    for line in sys.stdin:
        sys.stdout.write(f"\n{RESULT}{json.dumps(asdict(run_part(line.strip(), options)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
