"""Two processes that torchrun starts learn what one process learns from the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.errors import UsageError
from clprune.training.ranks import Ranks, join_ranks
from tests.training.networks import MICRO

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
#: Dropout draws other values in every process: what is compared has none.
WITHOUT_DROPOUT = MICRO.replace("[dropout]\nprobability=.5\n", "")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    cfg = tmp_path / "network.cfg"
    cfg.write_text(WITHOUT_DROPOUT)
    for out, before in ((tmp_path / "one", ()), (tmp_path / "two", TORCHRUN)):
        done = run(*before, "-m", "tests.training.together", out, cfg)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert (int(one["processes"]), int(two["processes"])) == (1, 2)
        assert int(one["reports"]) == int(two["reports"]) == 3
        assert set(one.files) == set(two.files)
        for name in set(one.files) - {"processes"}:
            assert_allclose(two[name], one[name], rtol=2e-3, atol=2e-5, err_msg=name)
        kept = one["1.weights"] != 0
        assert 0.3 < kept.mean() < 0.5
        assert_array_equal(two["1.weights"] != 0, kept)


@pytest.mark.slow
def test_torchrun_trains_by_the_command_line(tmp_path: Path) -> None:
    cfg = tmp_path / "network.cfg"
    cfg.write_text(MICRO)
    arguments = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1", "--out", tmp_path / "trained"]
    done = run(*TORCHRUN, "-m", "clprune", "train", cfg, *arguments, "--checkpoint", tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out images") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"network.cfg", "trained.names", "trained.weights", "state"}


def test_alone_nothing_is_asked_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join_ranks() as ranks:
        assert (ranks.rank, ranks.count, ranks.is_first) == (0, 1, True)
        assert ranks.sum(2.5) == 2.5
        assert ranks.from_first(lambda: "made") == "made"
        module = torch.nn.Linear(2, 2)
        assert ranks.wrap(module) is module


def test_shards_are_disjoint_and_complete() -> None:
    chosen = np.array([5, 3, 8, 1, 9])
    parts = [Ranks(rank=rank, count=3).shard(chosen) for rank in range(3)]
    assert [part.tolist() for part in parts] == [[5, 1], [3, 9], [8]]
    with pytest.raises(UsageError, match="a batch of 2 images for 3 processes"):
        Ranks(rank=0, count=3).shard(chosen[:2])
