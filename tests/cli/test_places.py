"""Outputs that could not be written are said at the start, before anything is read that takes long; one line each.

What each command would work on is absent, so that whatever it says of that would come too late.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clprune.cli.shared.errors import STATUS_FAILURE, STATUS_USAGE
from clprune.errors import FileError
from clprune.files import check_folder, check_writable, write_atomically
from clprune.tiles.store import Store
from tests.cli.conftest import Run
from tests.detection.models import write_detector
from tests.disks import fill_up, make_read_only, small_disk_at

TRAINING = ("--data", "folder:absent", "--epochs", "1")
PRUNING = ("prune", "small.cfg", *TRAINING, "--sparsity", "0.5")
FITTING = ("fit", "small.cfg", "--data", "folder:absent", "--speed-up", "2")

#: Command with OUT for what it shall write -> the files that it makes of OUT.
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("train", "small.cfg", *TRAINING, "--out", "OUT"): (".weights", ".names"),
    ("train", "small.cfg", *TRAINING, "--out", "made", "--checkpoint", "OUT"): ("",),
    (*PRUNING, "--out", "OUT"): (".cfg", ".weights", ".names"),
    (*PRUNING, "--out", "OUT", "--format", "packed"): (".safetensors",),
    (*PRUNING, "--out", "made", "--report", "OUT"): ("",),
    (*PRUNING, "--out", "made", "--checkpoint", "OUT"): ("",),
    (*FITTING, "--out", "OUT"): (".cfg", ".safetensors", ".fit.json", ".fit.checkpoint"),
    (*FITTING, "--out", "made", "--report", "OUT"): ("",),
    ("export", "small.cfg", "--onnx", "OUT.onnx"): (".onnx",),
    ("convert", "absent.onnx", "--out", "OUT"): (".cfg", ".weights"),
    ("quantize", "small.cfg", "--data", "folder:absent", "--out", "OUT"): (".cfg", ".safetensors"),
    ("quantize", "small.cfg", *TRAINING, "--out", "made", "--checkpoint", "OUT"): ("",),
    ("infer", "absent.cfg", "absent.png", "--until", "0", "--out", "OUT"): ("",),
    ("infer", "small.cfg", "absent.png", "--workers", "1", "--out", "OUT.jsonl"): (".jsonl",),
    ("infer", "small.cfg", "absent.png", "--workers", "1", "--out", "OUT.parquet"): (".parquet",),
    ("detect", "boxes.cfg", "absent.png", "--workers", "1", "--out", "OUT.jsonl"): (".jsonl",),
    ("db", "export", "OUT"): ("",),
    ("tune", "absent.cfg", "--workers", "1", "--out", "OUT.json"): (".json",),
    ("darknet", "detector", "test", "absent.data", "absent.cfg", "-out", "OUT"): ("",),
}  # fmt: skip

#: Likewise, with a folder to write into.
INTO_FOLDERS = [
    ("detect", "absent.cfg", "absent.png", "--out", "OUT"), ("detect", "absent.cfg", "absent.png", "--crops", "OUT"),
]  # fmt: skip

NEEDED = {"train": "torch", "prune": "torch", "fit": "torch", "export": "onnxruntime", "convert": "onnxruntime"}

every_command = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


@pytest.fixture
def folder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run: a model, a detector, no images."""
    write_detector(tmp_path / "boxes.cfg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_refused(run: Run, command: tuple[str, ...], out: Path, words: str) -> None:
    """Status 1 and one line about OUT, with what is expected."""
    if command[0] in NEEDED:
        pytest.importorskip(NEEDED[command[0]])
    if "--workers" in command:
        pytest.importorskip("distributed")
    result = run(*(part.replace("OUT", str(out)) for part in command))
    assert (result.status, result.out) == (STATUS_FAILURE, "")
    assert str(out) in result.error and words in result.error
    assert "expected" in result.error or "make it first" in result.error


@every_command
def test_folders_that_are_not_there(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    (folder / "file").write_text("in the way")
    for place, words in (("missing", "no such folder"), ("file", "not a folder"), ("made" * 200, "too long")):
        check_refused(run, command, folder / place / "made", words)


@every_command
def test_folders_in_the_place_of_files(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    for suffix in COMMANDS[command]:
        in_the_way = folder / f"taken{suffix}"
        in_the_way.mkdir()
        check_refused(run, command, folder / "taken", "cannot be written: is a folder")
        in_the_way.rmdir()
    assert not list(folder.glob("taken*"))


@every_command
def test_disks_that_are_full_or_read_only(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    with small_disk_at(folder / "disk") as disk:
        fill_up(disk)
        check_refused(run, command, disk / "made", "No space left on device")
        make_read_only(disk)
        check_refused(run, command, disk / "made", "Read-only file system")


@pytest.mark.parametrize("command", INTO_FOLDERS, ids=" ".join)
def test_folders_to_write_into(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    (folder / "file").write_text("in the way")
    check_refused(run, command, folder / "file", "File exists")
    check_refused(run, command, folder / "file" / "made", "Not a directory")
    with small_disk_at(folder / "disk") as disk:
        fill_up(disk)
        check_refused(run, command, disk, "No space left on device")
        make_read_only(disk)
        check_refused(run, command, disk, "Read-only file system")
        check_refused(run, command, disk / "made", "Read-only file system")


@pytest.mark.parametrize(
    "command",
    [
        *(
            ("infer", "small.cfg", "small.png", "--until", "0", "--out", f"small.{suffix}")
            for suffix in ("cfg", "weights", "png")
        ),
        ("tune", "small.cfg", "--workers", "1", "--out", "small.cfg"), ("db", "export", "data/tuning.sqlite"),
        ("infer", "small.cfg", "small.jsonl", "--workers", "1", "--out", "small.jsonl", "--resume"),
        ("train", "small.cfg", *TRAINING, "--out", "made", "--checkpoint", "small.cfg"),
        ("train", "small.cfg", *TRAINING, "--out", "made", "--checkpoint", "made.names"),
        (*PRUNING, "--out", "made", "--report", "./made.cfg"), (*PRUNING, "--out", "made", "--report", "link.weights"),
        (*PRUNING, "--out", "made", "--checkpoint", "made.safetensors"),
        (*FITTING, "--out", "made", "--report", "made.weights"), (*FITTING, "--out", "small"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_read_or_written_besides_is_not_replaced(
    run: Run, folder: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[0] in NEEDED:
        pytest.importorskip(NEEDED[command[0]])
    (folder / "data").mkdir(mode=0o700)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(folder / "data"))
    Store(folder / "data" / "tuning.sqlite").close()
    (folder / "small.png").write_text("a picture")
    (folder / "small.jsonl").write_text("")
    (folder / "link.weights").symlink_to("small.weights")
    before = {path: path.read_bytes() for path in folder.rglob("small.*")}
    result = run(*command)
    assert (result.status, result.out) == (STATUS_USAGE, "")
    assert "would replace" in result.error
    assert {path: path.read_bytes() for path in folder.rglob("small.*")} == before


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
@pytest.mark.parametrize(
    "command",
    [
        ("infer", "MODEL", "a.png", "--until", "0", "--out", "made"),
        ("infer", "MODEL", "a.png", "--workers", "1", "--out", "made.jsonl"),
        ("prune", "MODEL", *TRAINING, "--sparsity", "0.5", "--out", "made", "--report", "page.html"),
    ],
    ids=" ".join,
)
def test_folders_in_the_place_of_models(run: Run, folder: Path, command: tuple[str, ...], name: str) -> None:
    if command[0] in NEEDED:
        pytest.importorskip(NEEDED[command[0]])
    if "--workers" in command:
        pytest.importorskip("distributed")
    result = run(*(part.replace("MODEL", name) for part in command))
    assert result.status == STATUS_FAILURE
    assert "cannot be read: Is a directory" in result.error or "no such file" in result.error


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="users and modes as on Unix")
def test_a_folder_of_somebody_else(folder: Path) -> None:
    """Asked for as the user who runs the command, whoever started it."""
    others, user = folder / "others", os.geteuid()
    others.mkdir(mode=0o555)
    parents = [parent for parent in folder.parents if "pytest" in str(parent)]
    for parent in (folder, *parents):
        parent.chmod(0o711)
    try:
        if user == 0:
            os.seteuid(65534)
        for check in (check_writable, check_folder):
            with pytest.raises(FileError, match=f"{os.strerror(errno.EACCES)}; expected a folder where you may write"):
                check(others / "made" if check is check_writable else others)
    finally:
        os.seteuid(user)
        for path in (folder, *parents):
            path.chmod(0o700)


def test_what_is_asked_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(folder.iterdir())
    write_atomically(folder / "small.cfg", "old")
    for system in ("with files without a name", "without"):
        assert check_writable(folder / "small.cfg").read_text() == "old", system
        assert sorted(check_folder(folder).iterdir()) == before, system
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
