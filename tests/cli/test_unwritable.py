"""Writes that do not happen are failures, whatever is in their way; what can be read is read all the same."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.tiles.records import result_key
from clprune.tiles.store import DATABASE_NAME, Store
from tests.cli.conftest import Run
from tests.disks import fill_up, make_read_only, small_disk_at
from tests.imaginary import imaginary_device

KERNEL = kernel_by_name("connected")
WRITING = [("db", "import", "results.json"), ("db", "forget", "--all"), ("tune", "small.cfg", "--budget", "0.1")]
READING = [("db", "list"), ("db", "best"), ("db", "export", "again.json")]

each_writing = pytest.mark.parametrize("command", WRITING, ids=" ".join)


@pytest.fixture
def folder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database's folder, with a results file and a model where commands run."""
    path = tmp_path / "database"
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(path))
    monkeypatch.chdir(tmp_path)
    fill(path)
    return path


def fill(path: Path) -> None:
    key = result_key(imaginary_device(), Offer(kernel=KERNEL, operation=KERNEL.sample_operations()[1]))
    with Store(path / DATABASE_NAME) as store:
        store.add_device(imaginary_device())
        store.add_measurement(key, KERNEL.gpu_tiles[1], time_ms=2.0)
        store.set_best(key, KERNEL.gpu_tiles[1], workload=Workload(), time_ms=2.0, default_time_ms=3.0)


@pytest.fixture
def results(folder: Path, run: Run) -> None:
    assert run("db", "export", "results.json").status == 0


def check_failure(run: Run, command: tuple[str, ...], words: str) -> None:
    """One line and status 1; and `tune` says what it would not keep, and how to go on."""
    result = run(*command)
    assert (result.status, result.out) == (1, "")
    assert words in result.error
    assert ("--no-keep" in result.error) == (command[0] == "tune")


def check_reading(run: Run) -> None:
    for command in READING:
        result = run(*command)
        assert (result.status, result.err) == (0, "")
        assert "2.0000" in result.out or "1 measurements of 1" in result.out


@pytest.fixture
def small_disk(tmp_path: Path, folder: Path) -> Iterator[Path]:
    """The database's folder on a disk of 300 KiB."""
    with small_disk_at(tmp_path / "disk") as where:
        fill(where)
        yield where


@each_writing
@pytest.mark.usefixtures("results")
def test_folder_that_cannot_be_made(
    run: Run, folder: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "file").write_text("in the way")
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(folder.parent / "file" / "inside"))
    check_failure(run, command, "Not a directory")


@pytest.mark.parametrize("name", ["", "/", ".", "sub/.."])
@pytest.mark.parametrize(
    "command",
    [
        ("quantize", "small.cfg", "--random-weights", "--out"), ("convert", "small.onnx", "--out"),
        ("train", "small.cfg", "--data", "synthetic", "--epochs", "1", "--out"), ("db", "export"),
        ("prune", "small.cfg", "--data", "synthetic", "--epochs", "1", "--sparsity", "0.5", "--out"),
        ("fit", "small.cfg", "--data", "synthetic", "--speed-up", "2", "--out"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_names_that_are_none(run: Run, folder: Path, command: tuple[str, ...], name: str) -> None:
    if command[0] in ("train", "prune", "fit"):
        pytest.importorskip("torch", reason="trains")
    if command[0] == "convert":
        pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    (folder.parent / "sub").mkdir()
    result = run(*command, name)
    assert result.status == 1
    assert "cannot be written" in result.error


@each_writing
@pytest.mark.usefixtures("results")
def test_full_disk(run: Run, small_disk: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(small_disk))
    fill_up(small_disk)
    check_failure(run, command, "is the disk full or read-only?")
    check_reading(run)


@each_writing
@pytest.mark.usefixtures("results")
def test_full_disk_without_a_database(
    run: Run, small_disk: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(small_disk / "new"))
    (small_disk / "new").mkdir(mode=0o700)
    fill_up(small_disk)
    check_failure(run, command, "full")


@each_writing
@pytest.mark.usefixtures("results")
def test_read_only_disk(run: Run, small_disk: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(small_disk))
    make_read_only(small_disk)
    check_failure(run, command, "is the disk full or read-only?")
    check_reading(run)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="users and modes as on Unix")
def test_read_only_folder_of_somebody_who_is_not_root(run: Run, folder: Path) -> None:
    """Root, who may write everywhere, is nobody meanwhile."""
    check_reading(run)  # everything is imported
    assert run("db", "forget", "--kernel", "conv").status == 0
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user, parents = os.geteuid(), [parent for parent in folder.parents if "pytest" in str(parent)]
    for parent in parents:
        parent.chmod(0o711)
    try:
        if user == 0:
            os.seteuid(65534)
        reading, writing = run("db", "list"), run("db", "forget", "--all")
    finally:
        os.seteuid(user)
        for path in (*parents, folder):
            path.chmod(0o700)
    assert (reading.status, "2.0000" in reading.out, reading.err) == (0, True, "")
    assert (writing.status, writing.out) == (1, "")
    assert "is the disk full or read-only?" in writing.error
    check_reading(run)


@each_writing
@pytest.mark.usefixtures("results")
def test_database_of_a_newer_version(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    with sqlite3.connect(folder / DATABASE_NAME) as connection:
        connection.execute("PRAGMA user_version=99")
    check_failure(run, command, "schema version 99, this clprune reads up to")


def test_disk_that_fills_up_under_way(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept stays; the run ends where the first result is lost."""

    def full(*_: Any) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    class Connection:
        def __init__(self, of: sqlite3.Connection) -> None:
            self.of = of

        def __getattr__(self, name: str) -> Any:
            return getattr(self.of, name)

        def execute(self, statement: str, *values: Any) -> Any:
            return full() if "INTO best" in statement else self.of.execute(statement, *values)

    open_connection = Store._connect
    monkeypatch.setattr(Store, "_connect", lambda *given, **named: Connection(open_connection(*given, **named)))
    result = run("tune", "small.cfg", "--budget", "0.1")
    assert result.status == 1
    assert "cannot be written: database or disk is full" in result.error


@pytest.mark.usefixtures("device_context")
def test_tuning_without_a_database(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "file").write_text("in the way")
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(folder.parent / "file"))
    result = run("tune", "small.cfg", "--budget", "0.1", "--no-keep")
    assert (result.status, "kept in memory, which ends now" in result.out) == (0, True)
