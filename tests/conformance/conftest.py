"""Runs every part of the suite on every driver, two processes at a time, and prints what came of it as a matrix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.drivers import DRIVERS, ROOT, Driver, Place, find, gpus, install_missing
from tests.conformance.report import Matrix
from tests.conformance.suite import PARTS, Result

PROCESSES = 2
PART_TIMEOUT_S = 540
RESULTS = ROOT / "docs" / "results" / "conformance.md"
LONGEST = ("conv", "networks", "connected", "pointwise")
#: The longest parts first, so that none is left over at the end.
ORDER = (*LONGEST, *(part for part in PARTS if part not in LONGEST))
MATRIX = pytest.StashKey[Matrix]()


class Runs:
    """The processes of a session: all are queued at the start, tests wait for theirs."""

    def __init__(self, folder: Path, matrix: Matrix, wanted: list[tuple[Driver, str]]) -> None:
        self._folder, self._matrix = folder, matrix
        drivers = list(dict.fromkeys(driver for driver, _ in wanted))
        problem = install_missing(drivers, folder / "icd")
        self.places = {driver.name: find(driver, folder / "icd") for driver in drivers}
        if problem:
            absent = {name: place for name, place in self.places.items() if place.problem}
            self.places |= {name: Place(problem=f"{place.problem}; {problem}") for name, place in absent.items()}
        self._pool = ThreadPoolExecutor(max_workers=PROCESSES)
        self._futures: dict[tuple[str, str], Future[Result]] = {
            (driver.name, part): self._pool.submit(self._run, driver, part)
            for driver, part in sorted(wanted, key=lambda item: ORDER.index(item[1]))
            if not self.places[driver.name].problem
        }

    def result(self, driver: Driver, part: str) -> Result:
        """Wait for one part on one driver."""
        result = self._futures[driver.name, part].result()
        self._matrix.add(driver, result)
        return result

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, driver: Driver, part: str) -> Result:
        folder = self._folder / f"{driver.name}-{part}"
        folder.mkdir()
        options = ["--networks", str(driver.networks)]
        options += ["--pairs"] if driver.pairs else []
        options += ["--longest-source", str(driver.longest_source)] if driver.longest_source else []
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "tests.conformance.suite", part, *options],
                cwd=ROOT,
                env=self._environment(driver, folder),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PART_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Result(part=part, failures=[f"no result after {PART_TIMEOUT_S} s"])
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0 and lines and lines[-1].startswith("{"):
            return Result(**json.loads(lines[-1]))
        return Result(part=part, failures=[f"ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}"])

    def _environment(self, driver: Driver, folder: Path) -> dict[str, str]:
        """A cache and a database of its own; no wish of the user about devices."""
        kept = {name: value for name, value in os.environ.items() if name not in ("CLPRUNE_DEVICE", "PYOPENCL_CTX")}
        own = {
            "CLPRUNE_CACHE_DIR": str(folder / "cache"),
            "CLPRUNE_DATA_DIR": str(folder / "data"),
            "POCL_CACHE_DIR": str(folder / "pocl"),
            "PYOPENCL_NO_CACHE": "1",
        }
        if driver.is_checker:
            own["OCLGRIND_LOG"] = str(folder / "reports.txt")
        return {**kept, **own, **self.places[driver.name].environment}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MATRIX] = Matrix()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    drivers = [*DRIVERS, *gpus()]
    cases = [(driver, part) for part in ORDER for driver in drivers]
    metafunc.parametrize(("driver", "part"), cases, ids=[f"{driver.name}-{part}" for driver, part in cases])


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    wanted = [
        (item.callspec.params["driver"], item.callspec.params["part"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "part" in item.callspec.params
    ]
    runs = Runs(tmp_path_factory.mktemp("conformance"), request.config.stash[MATRIX], wanted)
    yield runs
    runs.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix; written to docs/results where every part of every driver was asked for."""
    matrix = config.stash[MATRIX]
    if matrix.is_empty:
        return
    terminalreporter.section("conformance: right runs by driver and kernel")
    terminalreporter.write_line(matrix.text())
    if matrix.parts == set(PARTS):
        before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(matrix.markdown(before=before), encoding="utf-8")
        terminalreporter.write_line(f"written to {RESULTS.relative_to(ROOT)}")
