"""Every script of docs/examples runs as it stands, beside files of the names that it reads."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.resources import models_folder
from tests.detection.models import write_detector

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
#: Shipped file -> what the examples call it.
FILES = {
    "vgg16-digits.cfg": "model.cfg",
    "vgg16-digits.weights": "model.weights",
    "vgg16-digits.names": "model.names",
    "samples/digit-3.png": "dog.png",
}
PRINTS = {
    "quick_start": "3 ",
    "detect": " objects",
    "own_model": "right",
    "prune_it": "ms after",
    "round_trip": "the same answer",
}
#: Runs in a process of its own; what others import takes longer than they do.
ALONE = "quick_start"
SLOW = ("prune_it", "round_trip")
#: What "own_model" tunes and "prune_it" prunes, in place of a network of many layers.
SMALL = {
    "own_model": "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=10\nactivation=relu\n[softmax]\n",
    "prune_it": (
        "[net]\nwidth=16\nheight=16\nchannels=3\n"
        + 2 * "[convolutional]\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=relu\n"
        + "[connected]\noutput=10\nactivation=linear\n[softmax]\n"
    ),
}


def test_every_example_is_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PRINTS)


@pytest.fixture
def quick_examples(quick_candidates: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say what is there, not how good it is."""
    monkeypatch.setattr("clprune.data.digits_on_photos.TEST_COUNT", 64)


@pytest.mark.usefixtures("device_context", "quick_examples")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in PRINTS]
)
def test_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if name in SLOW:
        pytest.importorskip("torch", reason="training needs PyTorch")
    if name == "round_trip":
        pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    for shipped, called in FILES.items():
        shutil.copy(models_folder() / shipped, tmp_path / called)
    if name == "detect":
        write_detector(tmp_path / "detector.cfg")
    if name in SMALL:
        (tmp_path / "model.cfg").write_text(SMALL[name])
        network = load_network(tmp_path / "model.cfg")
        write_weights(tmp_path / "model.weights", network, random_weights(network, seed=0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "data"))
    if name == ALONE:
        command = [sys.executable, FOLDER / f"{name}.py"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    else:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="example")
        said = capsys.readouterr().out
    assert PRINTS[name] in said
