"""`clprune db`: what the database holds, as text and JSON; exchange; forgetting only what was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.tiles.records import result_key
from clprune.tiles.store import open_store
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device

KERNEL = kernel_by_name("connected")
OPERATION = KERNEL.sample_operations()[1]
HERE, THERE = imaginary_device(), imaginary_device(name="Other GPU", driver_version="7.7")


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "database"))
    return tmp_path / "database" / "tuning.sqlite"


@pytest.fixture
def filled() -> None:
    store = open_store(to_write=True)
    for device in (HERE, THERE):
        store.add_device(device)
        key = result_key(device, Offer(kernel=KERNEL, operation=OPERATION))
        store.add_measurement(key, KERNEL.gpu_tiles[0], time_ms=None, invalidity="compile")
        store.add_measurement(key, KERNEL.gpu_tiles[1], time_ms=2.0)
        store.set_best(key, KERNEL.gpu_tiles[1], workload=Workload(), time_ms=2.0, default_time_ms=3.0)
    store.close()


@pytest.mark.parametrize("command", ["list", "best"])
def test_empty(run: Run, database: Path, command: str) -> None:
    result = run("db", command)
    assert (result.status, result.out, result.err) == (0, f"no results in {database}\n", "")
    assert list(json.loads(run("db", command, "--json").out).values())[1] == []


@pytest.mark.usefixtures("filled")
def test_list(run: Run) -> None:
    result = run("db", "list")
    head, one, other = result.out.splitlines()
    assert head.split()[:4] == ["device", "driver", "kernel", "problem"]
    assert "Example GPU" in one and "k33 m7" in one and "2.0000" in one and "3.0000" in one and "measured" in one
    assert "Other GPU" in other and "7.7" in other
    (entry,) = json.loads(run("db", "list", "--device", "other", "--json").out)["problems"]
    assert (entry["tried"], entry["valid"], entry["best_ms"], entry["default_ms"]) == (2, 1, 2.0, 3.0)
    assert run("db", "list", "--kernel", "conv").out.startswith("no results")


@pytest.mark.usefixtures("filled")
def test_best(run: Run) -> None:
    result = run("db", "best", "--device", "7.7")
    assert result.status == 0
    _, line = result.out.splitlines()
    assert "1.50x" in line
    assert f"group_m={KERNEL.gpu_tiles[1].group_m}" in line
    entries = json.loads(run("db", "best", "--json").out)["best"]
    assert [entry["device"] for entry in entries] == ["Example GPU", "Other GPU"]
    assert entries[0]["tile"]["group_k"] == KERNEL.gpu_tiles[1].group_k
    assert entries[0]["origin"] == "measured"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", ["list", "best"])
def test_long_lists_are_cut_and_say_so(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "clprune: the first 1; --limit 0 shows all, --kernel and --device choose\n"
    monkeypatch.setattr("clprune.cli.db._MOST_LINES", 1)
    result = run("db", command)
    assert (len(result.out.splitlines()), result.err) == (2, said)
    result = run("db", command, "--limit", 1, "--json")
    assert (len(list(json.loads(result.out).values())[1]), result.err) == (1, said)
    for options in (("--limit", 0), ("--limit", 2), ("--limit", 0, "--json"), ("--json",), ("--device", "other")):
        result = run("db", command, *options)
        assert ("Other GPU" in result.out, result.err) == (True, "")


@pytest.mark.usefixtures("filled")
def test_unknown_device(run: Run) -> None:
    result = run("db", "best", "--device", "Nowhere")
    assert result.status == 2
    assert result.error.startswith("no results of a device 'Nowhere'; there are results of: Example GPU (Example Pl")


@pytest.mark.usefixtures("filled")
def test_export_and_import(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.json.gz"
    result = run("db", "export", file, "--device", "other")
    assert (result.status, result.out) == (0, f"2 measurements of 1 tuned problems written to {file}\n")
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "another"))
    assert json.loads(run("db", "import", file, "--json").out) == {"file": str(file), "measurements": 2, "added": 2}
    assert "0 of 2 measurements" in run("db", "import", file).out
    (entry,) = json.loads(run("db", "best", "--json").out)["best"]
    assert (entry["device"], entry["origin"], entry["time_ms"]) == ("Other GPU", "imported from results.json.gz", 2.0)


@pytest.mark.usefixtures("filled")
def test_merge(run: Run, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a T4 file and a database, the first that knows a candidate counts; a bad file leaves all as it was."""
    exported, content = tmp_path / "results.json", database.read_bytes()
    run("db", "export", exported, "--device", "other")
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "another"))
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(content[:5000])
    result = run("db", "merge", exported, damaged)
    assert (result.status, result.error.startswith(f"{damaged}: not a tuning database, or damaged")) == (1, True)
    assert run("db", "list").out.startswith("no results")
    report = json.loads(run("db", "merge", exported, database, "--json").out)
    assert [(one["measurements"], one["added"]) for one in report["files"]] == [(2, 2), (4, 2)]
    origins = {entry["device"]: entry["origin"] for entry in json.loads(run("db", "list", "--json").out)["problems"]}
    assert origins == {"Example GPU": "imported from tuning.sqlite", "Other GPU": "imported from results.json"}
    assert database.read_bytes() == content
    again = tmp_path / "again.json"
    run("db", "export", again)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "third"))
    run("db", "merge", again)
    kept = {entry["device"]: entry["origin"] for entry in json.loads(run("db", "list", "--json").out)["problems"]}
    assert kept == origins


def test_import_of_something_else(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear database")
    result = run("db", "import", file)
    assert result.status == 1
    assert result.error.startswith(f"{file}: not JSON")
    absent = tmp_path / "absent.json"
    assert run("db", "import", absent).error == f"{absent}: no such file"


def test_export_where_nothing_can_be_written(run: Run, tmp_path: Path) -> None:
    result = run("db", "export", tmp_path / "no" / "folder.json")
    assert result.status == 1
    assert "no such folder" in result.error


@pytest.mark.usefixtures("filled")
def test_forget(run: Run) -> None:
    assert run("db", "forget").status == 2
    assert run("db", "forget", "--all", "--kernel", "conv").status == 2
    assert json.loads(run("db", "forget", "--kernel", "conv", "--json").out) == {"forgotten": 0}
    assert run("db", "forget", "--device", "other").out == "2 measurements forgotten\n"
    assert len(json.loads(run("db", "list", "--json").out)["problems"]) == 1
    assert run("db", "forget", "--problem", OPERATION.key).out == "2 measurements forgotten\n"
    assert run("db", "list").out.startswith("no results")


@pytest.mark.usefixtures("filled")
def test_forget_all(run: Run) -> None:
    assert run("db", "forget", "--all").out == "4 measurements forgotten\n"


def test_help_names_the_commands(run: Run) -> None:
    result = run("db", "--help")
    assert result.status == 0
    assert all(word in result.out for word in ("best", "export", "forget", "import", "list", "merge"))
