"""`clprune export`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.detection.models import write_detector


def test_text_and_json(run: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    path = tmp_path / "small.onnx"
    result = run("export", model, "--onnx", path, "--batch", "dynamic")
    assert result.status == 0
    first, last = result.out.splitlines()
    assert first == "softmax_4  10"
    assert "opset 13, batch dynamic, ONNX Runtime within " in last
    again = run("export", model, model.with_suffix(".weights"), "--onnx", path, "--batch", "3", "--json")
    found = json.loads(again.out)
    assert (found["batch"], found["outputs"], found["bytes"]) == (3, {"softmax_4": [10]}, path.stat().st_size)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--onnx", "model.cfg"), 2, "model.cfg: expected a file name that ends in .onnx"),
        (("--onnx", "absent/model.onnx"), 1, "no such folder: absent; make it first"),
        (
            ("--onnx", "model.onnx", "--batch", "0"),
            2,
            "0: expected a whole number of at least 1, below 10^9, or dynamic",
        ),
    ],
)
def test_refusals(run: Run, model: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    result = run("export", model, *arguments)
    assert result.status == status
    assert message in result.error


def test_without_onnx_one_line_says_what_to_install(model: Path, tmp_path: Path) -> None:
    script = "import sys; sys.modules['onnx'] = None; from clprune.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "export", model, "--onnx", tmp_path / "model.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.endswith("install them with: pip install clprune[onnx]")


def test_boxes(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    cfg, path = write_detector(tmp_path / "detector.cfg"), tmp_path / "detector.onnx"
    result = run("export", cfg, "--onnx", path, "--boxes", "--dialect", "hank-ai", "--threshold", "0.1", "--json")
    assert list(json.loads(result.out)["outputs"])[-4:] == ["boxes", "confidences", "class_indices", "image_indices"]
    refused = run("export", cfg, "--onnx", path, "--boxes")
    assert refused.status == 1
    assert "suppresses boxes by DIoU (nms_kind=greedynms), ONNX by IoU alone" in refused.error
