"""What all tests share: folders of their own, and an open OpenCL device."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clprune.errors import NoDeviceError

if TYPE_CHECKING:
    from clprune.opencl import Session

# A shell starts background jobs with SIGINT ignored, and their children inherit that: Ctrl-C could not be tested there.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Cases of one parametrized test that are traced where tracing is slow.
MOST_TRACED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-devices", action="store_true", help="run tests of kernels on every OpenCL device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one of them at the end leaves all processes but its own idle.

    Before Python 3.12 slow tests, sweeps and all but the first `MOST_TRACED` cases of a test do not count for coverage:
    tracing makes Python 2.5 times as slow, and others run what they run.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    if sys.version_info < (3, 12):
        cases: Counter[tuple[Path, str]] = Counter()
        for item in items:
            test = (item.path, item.name.partition("[")[0])
            cases[test] += 1
            if item.get_closest_marker("slow") or item.get_closest_marker("sweep") or cases[test] > MOST_TRACED:
                item.add_marker("no_cover")
    items.sort(key=lambda item: item.path not in slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With --all-devices, repeat each test that uses `device_context` on every device."""
    if "device_context" in metafunc.fixturenames and metafunc.config.getoption("--all-devices"):
        from clprune.opencl import devices

        found = devices()
        metafunc.parametrize(
            "device_context",
            [device.selector for device in found],
            indirect=True,
            scope="session",
            ids=[f"{device.platform_name}-{device.selector}" for device in found],
        )


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache and tuning database out of the tests, and the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CLPRUNE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def device_context(request: pytest.FixtureRequest, own_folders: None) -> Iterator[Session]:
    """An open session on the device that would be chosen (CLPRUNE_DEVICE), or on each with --all-devices."""
    from clprune.opencl import open_device

    try:
        session = open_device(getattr(request, "param", None))
    except NoDeviceError as error:
        pytest.skip(f"no OpenCL device: {str(error).partition('.')[0]}")
    with session:
        yield session


@pytest.fixture(scope="session", autouse=True)
def uncounted_candidates() -> Iterator[None]:
    """Processes that try candidates are ended, never left to end: what was traced there is lost, and half their time
    with it.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            from clprune.tuning.worker import ENVIRONMENT

            patch.setitem(ENVIRONMENT, "COVERAGE_PROCESS_CONFIG", "")
        yield


@pytest.fixture
def quick_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that try candidates start quickly, and run them a few times: enough where only the way is tried."""
    from tests import forked

    monkeypatch.setattr("clprune.tuning.caches.EVICTED_BYTES", forked.EVICTED_BYTES)
    monkeypatch.setattr("clprune.tuning.pool._COMMAND", forked.COMMAND)
    if forked.IS_POSSIBLE:
        forked.get_ready()
        monkeypatch.setattr("clprune.tuning.pool.subprocess", forked.Processes)


@pytest.fixture(autouse=True)
def uncounted_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a test that does not count for coverage do not count either: each would trace its imports, too."""
    if request.node.get_closest_marker("no_cover"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
