"""Sizes that nobody has memory for are refused in one line, before anything of that size is made on the host."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from clprune.cli.shared.model import tell_size
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.errors import LaunchError
from clprune.opencl import Session
from clprune.runner import Runner
from tests.cli.conftest import CFG, Run

#: Bytes that Python and NumPy may take on the way to the refusal.
MOST_BYTES = 100 * 2**20

HUGE_BATCHES = ("1000000000000", "100000000")


@pytest.fixture(autouse=True)
def measured() -> object:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_BYTES


def refused(run: Run, *arguments: object) -> str:
    result = run(*arguments)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("clprune: error: ") and result.err.count("\n") == 1
    return result.err


@pytest.mark.parametrize("batch", HUGE_BATCHES)
@pytest.mark.parametrize("command", ["infer", "bench", "verify", "eval", "tune"])
def test_batches(run: Run, model: Path, images: list[Path], command: str, batch: str) -> None:
    extra = {"infer": images[:1], "eval": ["--data", "synthetic"], "tune": ["--budget", "1"]}.get(command, [])
    message = refused(run, command, model, *extra, "--batch", batch)
    assert f"batch {batch}" in message and "use a smaller --batch" in message


@pytest.mark.parametrize("command", ["bench", "verify", "tune"])
@pytest.mark.parametrize("filters", [2**31 - 1, 10**8])
def test_random_weights_and_images(run: Run, tmp_path: Path, command: str, filters: int) -> None:
    cfg = tmp_path / "huge.cfg"
    cfg.write_text(CFG.replace("filters=9", f"filters={filters}"))
    extra = ["--budget", "1"] if command == "tune" else ["--random-weights"]
    assert "expected a smaller network" in refused(run, command, cfg, *extra)
    assert "use a smaller --batch" in refused(run, command, cfg, *extra, "--batch", "1000000000000")


def test_a_large_batch_is_said(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    for batch in (1, 1000, 100000):
        tell_size(load_network(model, batch=batch))
    assert capsys.readouterr().err == "clprune: 100000 images at once: up to 0.6 GiB in one layer\n"


@pytest.mark.parametrize("batch", [int(batch) for batch in HUGE_BATCHES])
def test_runner(device_context: Session, model: Path, batch: int) -> None:
    network = load_network(model, batch=batch)
    with pytest.raises(LaunchError, match="use a smaller --batch"):
        Runner(network, random_weights(network, seed=0), session=device_context)
