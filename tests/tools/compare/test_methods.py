"""The whole comparison on a network of three layers: dense training, every stage, and what is written."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from clprune.errors import UsageError
from clprune.opencl import Session
from tests.training.networks import MICRO

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("matplotlib", reason="pip install -e .[research]")

SMALL = [
    "--train-dense", "--dense-epochs", "1", "--dense-images", "32", "--data", "synthetic", "--images", "32",
    "--held-out", "20", "--epochs", "1", "--batch", "16", "--seeds", "1", "--sparsities", "0.5",
    "--variants", "filter,wavefront-2x1", "--timing-batch", "2", "--rounds", "2",
]  # fmt: skip


def run(*arguments: object) -> None:
    from tools.compare.methods import compare_methods

    assert isinstance(compare_methods, click.Command)
    compare_methods.main([str(argument) for argument in arguments], standalone_mode=False)


def test_both_stages_end_with_what_is_there(tmp_path: Path, device_context: Session) -> None:
    cfg = tmp_path / "network.cfg"
    cfg.write_text(MICRO)
    work, out = tmp_path / "work", tmp_path / "out"
    common = ["--cfg", cfg, "--work", work, "--out", out, "--device", device_context.info.selector, *SMALL]
    run("--stage", "train", *common)
    assert {path.name for path in out.iterdir()} == {"methods.csv", "methods.md"}
    run("--stage", "measure", *common)
    assert {path.name for path in out.iterdir()} == {"methods.csv", "methods.md", "methods.svg"}
    written = (work / "runs.jsonl").stat().st_mtime_ns, (work / "times.jsonl").stat().st_mtime_ns
    run("--stage", "all", *common)
    assert ((work / "runs.jsonl").stat().st_mtime_ns, (work / "times.jsonl").stat().st_mtime_ns) == written
    table = (out / "methods.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["variant", "filter", "wavefront-2x1"]
    assert device_context.info.name in table[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsities", "half"], "sparsities 'half': expected numbers"),
        (["--sparsities", "1.5"], "between 0 and 1"),
        (["--variants", "magic"], "pruning method 'magic'"),
    ],
)
def test_wrong_wishes_are_refused_first(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("--work", tmp_path / "work", *options)
    assert not (tmp_path / "work").exists()


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    from clprune.errors import DataError

    with pytest.raises(DataError, match="run the stage `train` first"):
        run("--work", tmp_path, "--stage", "measure")
