"""The conformance suite itself: a wrong kernel does not pass, and the matrix says what happened."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.connected import CONNECTED
from clprune.kernels.pointwise import POINTWISE
from clprune.kernels.softmax import SOFTMAX, SoftmaxKernel, SoftmaxOperation, SoftmaxTile
from clprune.opencl import Session
from tests.conformance import conftest, drivers
from tests.conformance.conftest import MATRIX
from tests.conformance.drivers import DRIVERS, Driver, Place, find
from tests.conformance.report import Matrix
from tests.conformance.suite import PARTS, Result, run_kernel
from tests.conformance.test_drivers import test_driver as check_driver
from tests.conformance.worker import Worker
from tests.covering import (
    FIRST_TILES,
    HANDS,
    WORKLOADS,
    covering_points,
    dealt_gpu_tiles,
    has_weights,
    roomy_device,
    values_missed,
)

OPTIONS = argparse.Namespace(pairs=False, hands=HANDS, longest_source=None, wrong={})
POCL = next(driver for driver in DRIVERS if driver.name == "pocl")


class Halved(SoftmaxKernel):
    """Wrong for groups of more than one work-item."""

    def source(self, tile: SoftmaxTile, operation: SoftmaxOperation) -> str:
        right = super().source(tile, operation)
        return right if tile.group_n == 1 else right.replace("out[i] /= value", "out[i] /= 2.0f * value")


class NeverOne(SoftmaxKernel):
    """Declares a value that nothing allows."""

    def __init__(self) -> None:
        self.parameters = {"group_n": (1, 64, 100_000)}  # type: ignore[misc]


def run(session: Session, kernel: Kernel[SoftmaxTile, SoftmaxOperation]) -> Result:
    result = Result(part=kernel.name)
    run_kernel(session, kernel, result, OPTIONS)
    return result


def test_right_kernel_passes(device_context: Session) -> None:
    result = run(device_context, SoftmaxKernel())
    assert result.failures == []
    assert result.runs >= 4


def test_wrong_kernel_fails_where_it_is_wrong(device_context: Session) -> None:
    result = run(device_context, Halved())
    assert result.runs > 0
    assert result.failures
    assert all("WrongAnswer: relative error" in failure for failure in result.failures)
    assert all("group_n=1)" not in failure for failure in result.failures)


def test_value_that_is_never_tried_fails(device_context: Session) -> None:
    assert run(device_context, NeverOne()).failures == ["never tried: [('group_n', 100000)]"]


def test_tiles_that_a_driver_computes_wrongly_are_left_out(device_context: Session) -> None:
    wrong = argparse.Namespace(**{**vars(OPTIONS), "wrong": {"softmax": [{"group_n": 64}]}})
    result = Result(part="softmax")
    run_kernel(device_context, SoftmaxKernel(), result, wrong)
    assert result.failures[0].startswith("never tried: [('group_n', 64)")
    assert all(failure.startswith("never tried") for failure in result.failures)


def test_every_kernel_is_a_part() -> None:
    assert PARTS[-2:] == ("networks", "quirks")
    assert {"conv", "connected"} < set(PARTS)


def test_named_tiles_are_dealt_to_neighbouring_hands() -> None:
    """So that every driver has either the default or the safe tile of an operation, whichever neighbours it holds."""
    assert Counter(hand for driver in DRIVERS for hand in driver.hands) == dict.fromkeys(HANDS, 2)
    assert all((first + 1) % len(HANDS) == second for first, second in (driver.hands for driver in DRIVERS))


def test_every_named_tile_for_gpus_runs_under_a_driver_and_the_first_under_two() -> None:
    for kernel in built_in_kernels():
        dealt = Counter(tile for driver in DRIVERS for tile in dealt_gpu_tiles(kernel, driver.hands))
        assert [dealt[tile] for tile in kernel.gpu_tiles] == [
            2 if number < FIRST_TILES else 1 for number in range(len(kernel.gpu_tiles))
        ]
        assert dealt_gpu_tiles(kernel, HANDS) == list(kernel.gpu_tiles)


@pytest.mark.parametrize("kernel", [SOFTMAX, POINTWISE, CONNECTED], ids=lambda kernel: kernel.name)
def test_default_and_safe_tile_of_every_operation_run_under_two_drivers(kernel: Kernel[Any, Any]) -> None:
    device = roomy_device()
    for number, operation in enumerate(kernel.sample_operations()):
        for tile in (kernel.default_tile(operation, device), kernel.safe_tile(operation)):
            having = [
                driver.name
                for driver in DRIVERS
                for point in covering_points(kernel, device, hands=driver.hands)
                if (point.operation_number, point.tile) == (number, tile)
            ]
            assert len(set(having)) >= 2, (tile, operation.key)


@pytest.mark.parametrize("kernel", [SOFTMAX, POINTWISE, CONNECTED], ids=lambda kernel: kernel.name)
def test_every_driver_meets_every_value_operation_and_sparsity(kernel: Kernel[Any, Any]) -> None:
    for driver in DRIVERS:
        points = covering_points(kernel, roomy_device(), hands=driver.hands)
        assert values_missed(kernel, points) == [], driver.name
        assert {point.operation_number for point in points} == {*range(len(kernel.sample_operations()))}, driver.name
        assert {point.workload for point in points} == {*(WORKLOADS if has_weights(kernel) else WORKLOADS[:1])}


def test_what_no_short_source_has_is_run_with_the_shortest() -> None:
    """A driver that is slow on long ones runs every value and every operation all the same."""
    any_length, no_length = (
        covering_points(CONNECTED, roomy_device(), hands=(0,), longest_source=limit) for limit in (None, 10)
    )
    assert values_missed(CONNECTED, no_length) == []
    assert {point.operation_number for point in no_length} == {*range(len(CONNECTED.sample_operations()))}
    dealt = {tile for number, tile in enumerate(CONNECTED.cpu_tiles) if number % len(HANDS) == 0}
    assert dealt <= {point.tile for point in any_length}
    assert not dealt <= {point.tile for point in no_length}


#: Answers as the suite does; one part crashes, another hangs.
SCRIPT = """
import json, os, sys, time
for line in sys.stdin:
    part = line.strip()
    print("\\nconformance run: first of", part, flush=True)
    if part == "crashes":
        sys.stderr.write("the driver's last words")
        sys.stderr.flush()
        os.abort()
    if part == "hangs":
        time.sleep(60)
    print("\\nconformance result:", json.dumps({"part": part, "runs": 3}), flush=True)
"""
COMMAND = [sys.executable, "-c", SCRIPT]


def test_process_works_part_after_part(tmp_path: Path) -> None:
    worker = Worker(COMMAND, environment=os.environ, folder=tmp_path)
    assert [worker.run(part).runs for part in ("one", "other")] == [3, 3]
    assert not worker.is_over
    worker.close()
    assert worker.is_over


@pytest.mark.parametrize(
    ("part", "end"),
    [("crashes", "ended with status -6:\nthe driver's last words"), ("hangs", "no sign of life for 2 s:")],
)
def test_run_at_which_a_driver_ends_is_named(tmp_path: Path, part: str, end: str) -> None:
    worker = Worker(COMMAND, environment=os.environ, folder=tmp_path)
    assert worker.run("one").runs == 3  # its start is no part of the silence
    (failure,) = worker.run(part, silence_s=2).failures
    assert failure.strip() == f"first of {part}: {end}"
    assert worker.is_over


def test_driver_that_crashes_takes_only_its_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(conftest, "install_missing", lambda drivers, folder: "")
    monkeypatch.setattr(conftest, "find", lambda driver, folder: Place())
    monkeypatch.setattr(conftest, "suite_command", lambda driver: COMMAND)
    parts = ("one", "crashes", "other", "last")
    wanted = [(driver, part) for driver in DRIVERS[:3] for part in parts]
    runs = conftest.Runs(tmp_path, Matrix(), wanted)
    found = {(driver.name, part): runs.result(driver, part) for driver, part in wanted}
    runs.close()
    assert [key for key, result in found.items() if result.failures] == [(d.name, "crashes") for d in DRIVERS[:3]]
    assert all(result.runs == 3 for (_, part), result in found.items() if part != "crashes")


def result(part: str, **facts: object) -> Result:
    return Result(part=part, device="Example CPU", driver="Example 1.2", **facts)  # type: ignore[arg-type]


def test_matrix() -> None:
    matrix = Matrix()
    assert matrix.is_empty
    matrix.add(DRIVERS[0], result("conv", runs=9, refused=2))
    matrix.add(DRIVERS[0], result("softmax", runs=3, failures=["wrong"]))
    matrix.add_absent(POCL, "conv", "not installed")
    matrix.add_absent(POCL, "softmax", "not installed")
    text = matrix.text().splitlines()
    assert text[0].split() == ["conv", "softmax", "seconds"]
    assert text[1].split("  ")[0] == DRIVERS[0].title
    assert "9 right, 2 refused" in text[1]
    assert "FAILED 1 of 4" in text[1]
    assert text[2].split() == ["PoCL", "absent", "absent", "0"]


def test_page_keeps_rows_of_other_machines() -> None:
    matrix = Matrix()
    for part in PARTS:
        matrix.add(DRIVERS[0], result(part, runs=1, notes=["no_fp64"] if part == "quirks" else []))
    cells = " | ".join(["1 right"] * len(PARTS))
    before = (
        f"# Old\n\n| driver | x |\n|---|---|\n| {DRIVERS[0].title} | old | {cells} |\n| A GPU | 535.1 | {cells} |\n"
    )
    page = matrix.markdown(before=before)
    assert f"| {DRIVERS[0].title} | Example CPU, Example 1.2 | {cells} |" in page
    assert f"| A GPU | 535.1 | {cells} |" in page
    assert "| old |" not in page
    assert "a literal without f" in page
    assert matrix.markdown(before=page) == page


def test_absent_driver_is_no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(drivers, "UNPACKED", tmp_path)
    absent = Driver(name="absent", title="Absent", packages=("absent-icd",), pattern="usr/lib/*/libabsent.so")
    assert find(absent, tmp_path).problem == "absent-icd is not installed"


def test_unpacked_driver_is_shown_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(drivers, "UNPACKED", tmp_path / "unpacked")
    library = tmp_path / "unpacked/usr/lib/machine/libexample.so.1"
    library.parent.mkdir(parents=True)
    library.write_text("")
    example = Driver(name="example", title="Example", packages=("example-icd",), pattern="usr/lib/*/libexample.so.*")
    place = find(example, tmp_path / "icd")
    vendors = Path(place.environment["OCL_ICD_VENDORS"])
    assert [path.read_text() for path in vendors.iterdir()] == [f"{library}\n"]
    assert place.environment["LD_LIBRARY_PATH"].split(":")[0] == str(library.parent)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_absent_driver_is_a_skip_and_on_ci_a_failure(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    noted: list[str] = []
    matrix = SimpleNamespace(add_absent=lambda driver, part, problem: noted.append(problem))
    driver = SimpleNamespace(name="x", title="Driver X")
    runs = SimpleNamespace(places={"x": SimpleNamespace(problem="no library")})
    asked = SimpleNamespace(config=SimpleNamespace(stash={MATRIX: matrix}))
    with pytest.raises(outcome, match="Driver X is absent: no library"):
        check_driver(asked, runs, driver, "conv")  # type: ignore[arg-type]
    assert noted == ["no library"]
