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


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    for suffix in ("", ".cfg", ".weights", ".safetensors"):
        os.mkfifo(f"{path}{suffix}")
    return path


def refused(run: Run, *arguments: object) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (1, "")
    assert "is a pipe or a device" in result.error


@pytest.mark.parametrize("command", COMMANDS)
def test_read(run: Run, model: Path, pipe: Path, tmp_path: Path, command: str) -> None:
    out = ("--out", tmp_path / "made") if command in WRITING else ()
    for files in ((f"{pipe}.cfg", f"{pipe}.weights"), (model, f"{pipe}.weights"), (model, f"{pipe}.safetensors")):
        refused(run, command, *files, *COMMANDS[command], *out)


@pytest.mark.parametrize("command", WRITING)
def test_write(run: Run, model: Path, pipe: Path, command: str) -> None:
    refused(run, command, model, model.with_suffix(".weights"), *COMMANDS[command], "--out", pipe)
    assert Path(f"{pipe}.cfg").is_fifo()


def test_train(run: Run, model: Path, pipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    refused(run, "train", f"{pipe}.cfg", *TRAINING, "--out", tmp_path / "made")
    refused(run, "train", model, *TRAINING, "--out", pipe)
    refused(run, "train", model, *TRAINING, "--out", tmp_path / "made", "--checkpoint", pipe)


def test_results_of_tuning(run: Run, pipe: Path) -> None:
    refused(run, "db", "import", pipe)
    refused(run, "db", "export", pipe)
