"""The table of torchvision's models, for its smallest one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnx")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from tools.torchvision_models import main


@pytest.mark.slow
def test_a_row_for_each_model(tmp_path: Path) -> None:
    out = tmp_path / "models.json"
    done = CliRunner().invoke(main, ["--names", "squeezenet1_1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    (section,) = json.loads(out.read_text())["sections"].values()
    (converted,) = section["parts"][0]["rows"]
    assert converted[:4] == ["squeezenet1_1", "3x224x224", "47", "1.24"]
    assert float(converted[4]) < 1e-4
    assert out.with_suffix(".md").read_text().startswith("# Models of torchvision")
