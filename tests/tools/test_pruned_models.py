"""The page of converted models that were pruned, for a tiny one and a few images."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("sklearn", reason="digits-on-photos needs scikit-learn")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from torch import nn

from clprune.training.vision import import_torchvision
from clprune.tuning.spaces import Spaces
from tests.tuning.first import first_candidates
from tools import pruned_models
from tools.pruned_models import Way, main


def two_convolutions(name: str, *, weights: None, num_classes: int) -> nn.Module:
    """In place of what torchvision has by that name."""
    layers = nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 32, 3, stride=2), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_candidates")
def test_a_row_for_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_torchvision().models, "get_model", two_convolutions)
    monkeypatch.setattr("clprune.data.digits_on_photos.TEST_COUNT", 64)
    monkeypatch.setattr(Spaces, "candidates", first_candidates(4))
    monkeypatch.setattr("clprune.tuning.tune.FEWEST_SECONDS", 60.0)  # for the one tile that has to be timed
    monkeypatch.setattr(pruned_models, "WAYS", (Way(method="filter", sparsity=0.5), Way(method="bcbp", sparsity=0.8)))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    out, few = (
        tmp_path / "pruned.json",
        ["--images", "16", "--dense-images", "16", "--epochs", "1", "--dense-epochs", "1"],
    )
    quick = ["--tune", "1", "--tune-pruned", "1", "--rounds", "2", "--work", str(tmp_path / "work"), "--out", str(out)]
    done = CliRunner().invoke(main, ["--names", "resnet18", *few, *quick])
    assert done.exit_code == 0, done.output
    (section,) = json.loads(out.read_text())["sections"].values()
    reported, timed = (part["rows"] for part in section["parts"])
    assert [row[:3] for row in reported] == [["filter", "channel", "50% of channels"], ["bcbp", "tile", "80% of units"]]
    assert [row[0] for row in timed] == ["dense", "filter", "bcbp"]
    assert all(float(row[8]) > 0 for row in reported)
    assert out.with_suffix(".md").read_text().startswith("# Converted models, pruned")
