"""Runs every part of the suite on every driver, two processes at a time, and prints what came of it as a matrix."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from clprune.kernels.catalogue import built_in_kernels
from tests.conformance.drivers import DRIVERS, ROOT, Driver, Place, find, gpus, install_missing
from tests.conformance.report import Matrix
from tests.conformance.suite import NETWORKS, PARTS, QUIRKS, Result
from tests.conformance.worker import Worker, suite_command

PROCESSES = 2
RESULTS = Path(os.environ.get("CONFORMANCE_RESULTS", ROOT / "docs" / "results" / "conformance.md"))
MATRIX = pytest.StashKey[Matrix]()


class Runs:
    """The work of a session: all of it is queued at the start, tests wait for their part.

    Two threads take it, each with one process, which keeps to a driver as long as there is something left for it.
    """

    def __init__(self, folder: Path, matrix: Matrix, wanted: list[tuple[Driver, str]]) -> None:
        self._folder, self._matrix = folder, matrix
        drivers = list(dict.fromkeys(driver for driver, _ in wanted))
        problem = install_missing(drivers, folder / "icd")
        self.places = {driver.name: find(driver, folder / "icd") for driver in drivers}
        if problem:
            absent = {name: place for name, place in self.places.items() if place.problem}
            self.places |= {name: Place(problem=f"{place.problem}; {problem}") for name, place in absent.items()}
        self._lock = threading.Lock()
        self._left = {
            driver: [part for other, part in wanted if other is driver]
            for driver in drivers
            if not self.places[driver.name].problem
        }
        self._results: dict[tuple[str, str], Future[Result]] = {
            (driver.name, part): Future() for driver, parts in self._left.items() for part in parts
        }
        self._workers: list[Worker] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(PROCESSES)]
        for thread in self._threads:
            thread.start()

    def result(self, driver: Driver, part: str) -> Result:
        """Wait for one part on one driver."""
        result = self._results[driver.name, part].result()
        self._matrix.add(driver, result)
        return result

    def close(self) -> None:
        """End what still runs: after an interrupt, or where a test has failed with `-x`."""
        with self._lock:
            self._left.clear()
            workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        worker: Worker | None = None
        last: Driver | None = None
        while (job := self._next(last)) is not None:
            driver, part = job
            try:
                if worker is not None and (worker.is_over or driver is not last):
                    worker.close()
                    worker = None
                last, worker = driver, worker or self._start(driver)
                self._results[driver.name, part].set_result(worker.run(part))
            except BaseException as error:  # a bug of the suite: the test that waits must hear of it
                self._results[driver.name, part].set_exception(error)
        if worker is not None:
            worker.close()

    def _next(self, last: Driver | None) -> tuple[Driver, str] | None:
        """The next part of the same driver as before, or of the one that has most left."""
        with self._lock:
            self._left = {driver: parts for driver, parts in self._left.items() if parts}
            if not self._left:
                return None
            driver = last if last in self._left else max(self._left, key=lambda driver: len(self._left[driver]))
            return driver, self._left[driver].pop(0)

    def _start(self, driver: Driver) -> Worker:
        with self._lock:
            folder = self._folder / f"{driver.name}{len(self._workers)}"
            folder.mkdir()
            worker = Worker(suite_command(driver), environment=self._environment(driver, folder), folder=folder)
            self._workers.append(worker)
        return worker

    def _environment(self, driver: Driver, folder: Path) -> dict[str, str]:
        """A cache and a database of its own; no wish of the user about devices."""
        kept = {name: value for name, value in os.environ.items() if name not in ("CLPRUNE_DEVICE", "PYOPENCL_CTX")}
        own = {
            "CLPRUNE_CACHE_DIR": str(folder / "cache"),
            "CLPRUNE_DATA_DIR": str(folder / "data"),
            "POCL_CACHE_DIR": str(folder / "pocl"),
            "MESA_SHADER_CACHE_DIR": str(folder / "mesa"),
            "PYOPENCL_NO_CACHE": "1",
        }
        if driver.is_checker:
            own["OCLGRIND_LOG"] = str(folder / "reports.txt")
        return {**kept, **own, **self.places[driver.name].environment}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MATRIX] = Matrix()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    drivers = [*DRIVERS, *gpus()]
    # Kernels with many parameters take longest: those first, so that none is left over at the end.
    kernels = sorted(built_in_kernels(), key=lambda kernel: -len(kernel.parameters))
    parts = [*(kernel.name for kernel in kernels), NETWORKS, QUIRKS]
    cases = [(driver, part) for driver in drivers for part in parts]
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
        terminalreporter.write_line(f"written to {RESULTS}")
