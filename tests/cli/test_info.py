"""`clprune info`: what a bug report needs, whatever is missing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import clprune
from clprune import opencl
from clprune.cli import main
from clprune.cli.info import collect
from clprune.errors import NoDeviceError
from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.tiles.database import SCHEMA_VERSION
from clprune.tiles.records import result_key
from clprune.tiles.state import store_state
from clprune.tiles.store import DATABASE_NAME, Store
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device, imaginary_platform

DEVICE = imaginary_device(name="Example CPU", type="cpu", fp64=False, local_mem_is_dedicated=False)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One device, one platform without, and empty folders."""
    platforms = [imaginary_platform(0, "Example Platform", {}), imaginary_platform(1, "Clover", problem="no devices")]
    monkeypatch.setattr(opencl, "discover_platforms", lambda: platforms)
    monkeypatch.setattr(opencl, "choose", lambda selection=None: DEVICE)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path))


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["info", *arguments])
    assert caught.value.code == 0
    return capsys.readouterr().out


def no_device(selection: str | None = None) -> Any:
    raise NoDeviceError("no OpenCL driver was found. Install one")


def keep_one_result(path: Path) -> None:
    store = Store(path)
    kernel = kernel_by_name("connected")
    operation = kernel.sample_operations()[0]
    for device in (DEVICE, imaginary_device(name="Other")):
        key = result_key(device, Offer(kernel=kernel, operation=operation))
        store.add_device(device)
        store.add_measurement(key, kernel.safe_tile(operation), time_ms=1.0)
        store.set_best(key, kernel.safe_tile(operation), workload=Workload(), time_ms=1.0, default_time_ms=1.0)
    store.close()


def test_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = output(capsys)
    assert f"clprune   {clprune.__version__}" in text
    assert "numpy " in text
    assert "pyopencl " in text
    assert "0:0 Example CPU (cpu, example-gpu)" in text
    assert "driver 1.2.3" in text
    assert "quirk     no_fp64: kernels compute in float alone" in text
    assert "quirk     emulated_local_memory: " in text
    assert "Clover, OpenCL 3.0: no devices (it serves AMD GPUs only)" in text
    assert f"{tmp_path / DATABASE_NAME} does not exist yet" in text
    assert not (tmp_path / DATABASE_NAME).exists()


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep_one_result(tmp_path / DATABASE_NAME)
    facts = json.loads(output(capsys, "--json"))
    assert facts["clprune"] == clprune.__version__
    assert facts["device"]["name"] == "Example CPU"
    assert facts["device"]["driver_version"] == "1.2.3"
    assert [quirk["name"] for quirk in facts["quirks"]] == [
        "no_fp64",
        "emulated_local_memory",
        "native_vector_width_misleads",
    ]
    assert all(quirk["evidence"] for quirk in facts["quirks"])
    database = facts["database"]
    assert (database["schema_version"], database["problem"]) == (SCHEMA_VERSION, "")
    assert (database["devices"], database["measurements"], database["winners"], database["winners_here"]) == (
        2,
        2,
        2,
        1,
    )


def test_without_a_device(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl, "choose", no_device)
    assert "device    none: no OpenCL driver was found. Install one" in output(capsys)
    facts = collect(None, problem="no driver")
    assert facts["device"] is None
    assert facts["quirks"] == []


def test_device_that_was_asked_for_and_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencl, "choose", no_device)
    with pytest.raises(SystemExit) as caught:
        main(["info", "--device", "absent"])
    assert caught.value.code == 1
    assert "no OpenCL driver was found" in capsys.readouterr().err


def test_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    state = store_state(DEVICE, path=path)
    assert state.problem == f"schema version 99, this clprune writes {SCHEMA_VERSION}"
    assert path.read_bytes() == before


def test_file_that_is_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / DATABASE_NAME).write_text("a letter to a friend " * 50)
    assert store_state(DEVICE).problem == "file is not a database"
    assert "cannot be used: file is not a database" in output(capsys)


def test_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real drivers, whatever they are."""
    monkeypatch.undo()
    facts = json.loads(output(capsys, "--json"))
    assert (facts["device"] is None) == bool(facts["device_problem"])


def test_layers_of_a_cfg(run: Run, model: Path) -> None:
    result = run("info", model)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[1].split() == ["0", "convolutional", "9x11x13", "279", "0.03"]
    assert lines[-1] == "dialect: pjreddie (weights of version 0.2.0)"
    assert "answers with *; 8321 parameters" in result.out
    facts = json.loads(run("info", model, "--json", "--dialect", "hank-ai").out)
    assert (facts["dialect"], facts["outputs"], facts["layers"][1]["output"]) == ("hank-ai", [4], [9, 6, 7])
