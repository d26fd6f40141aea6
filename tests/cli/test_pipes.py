"""Pipes in the place of files: nothing waits for somebody who writes or reads them, and nothing replaces them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")

TRAINING = ("--data", "synthetic", "--epochs", "1", "--count", "8", "--batch", "4")

#: Command -> what follows MODEL.cfg and WEIGHTS.
COMMANDS: dict[str, tuple[str, ...]] = {
    "bench": (), "eval": ("--data", "synthetic"), "infer": ("a.png",), "prune": ("--sparsity", "0.5", *TRAINING),
    "quantize": (), "tune": (), "verify": (),
}  # fmt: skip

WRITING = ("prune", "quantize")

REASON = "is a pipe or a device"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    for suffix in ("", ".cfg", ".weights", ".safetensors"):
        os.mkfifo(f"{path}{suffix}")
    return path


def refusal(run: Run, *arguments: object) -> str:
    """The reason that a command gives, which fails and prints nothing else."""
    result = run(*arguments)
    assert (result.status, result.out) == (1, "")
    return result.error


@pytest.mark.parametrize("command", COMMANDS)
def test_read(run: Run, model: Path, pipe: Path, tmp_path: Path, command: str) -> None:
    out = ("--out", tmp_path / "made") if command in WRITING else ()
    for files in ((f"{pipe}.cfg", f"{pipe}.weights"), (model, f"{pipe}.weights"), (model, f"{pipe}.safetensors")):
        assert REASON in refusal(run, command, *files, *COMMANDS[command], *out)


@pytest.mark.parametrize("command", WRITING)
def test_write(run: Run, model: Path, pipe: Path, command: str) -> None:
    reason = refusal(run, command, model, model.with_suffix(".weights"), *COMMANDS[command], "--out", pipe)
    assert REASON in reason
    assert Path(f"{pipe}.cfg").is_fifo()


def test_train(run: Run, model: Path, pipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    made = ("--out", tmp_path / "made")
    assert REASON in refusal(run, "train", f"{pipe}.cfg", *TRAINING, *made)
    assert REASON in refusal(run, "train", model, *TRAINING, "--out", pipe)
    assert REASON in refusal(run, "train", model, *TRAINING, *made, "--checkpoint", pipe)


@pytest.mark.parametrize("command", ["import", "merge", "export"])
def test_results_of_tuning(run: Run, pipe: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a writer or reader that never comes, the pipe stays one, and no database is made."""
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "data"))
    what = REASON if command in ("import", "merge") else f"cannot be written: {REASON}"
    assert refusal(run, "db", command, pipe).startswith(f"{pipe}: {what}")
    assert pipe.is_fifo()
    assert not (tmp_path / "data").exists()
