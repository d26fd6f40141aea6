"""The public surface: what `import clprune` offers, what importing it costs, and the examples of its docstrings."""

from __future__ import annotations

import ast
import doctest
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import clprune
from clprune import errors
from clprune.opencl import Session
from clprune.resources import models_folder
from tests.cli.conftest import few_rounds, few_shares
from tests.detection.models import write_detector

__all__ = ["few_rounds", "few_shares"]

FUNCTIONS = (
    *("bench", "convert", "devices", "evaluate", "export", "fit", "from_torch", "load_image", "load_model"),
    *("prune", "quantize", "to_torch", "train", "tune", "verify"),
)
SMALL = """\
[net]
width=8
height=8
channels=3
[convolutional]
filters=16
size=3
pad=1
activation=relu
[convolutional]
filters=16
size=3
pad=1
activation=relu
[maxpool]
size=2
stride=2
[connected]
output=10
activation=linear
[softmax]
"""


def own_errors() -> set[str]:
    found = (value for value in vars(errors).values() if inspect.isclass(value))
    return {one.__name__ for one in found if issubclass(one, errors.ClpruneError)}


def test_names() -> None:
    assert set(clprune.__all__) == {
        "Detection",
        "Detector",
        "Model",
        "Runner",
        "__version__",
        *FUNCTIONS,
        *own_errors(),
    }
    assert set(clprune.__all__) <= set(dir(clprune))
    for name in clprune.__all__:
        assert getattr(clprune, name) is not None
    assert clprune.UsageError is errors.UsageError


def test_type_checkers_see_what_is_loaded_on_first_use() -> None:
    tree = ast.parse(Path(inspect.getfile(clprune)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("clprune."):
            for alias in node.names:
                assert getattr(clprune, alias.name) is getattr(
                    __import__(node.module, fromlist=[alias.name]), alias.name
                )


def test_arguments_are_named() -> None:
    """All but the first, which is the model, the image or the cfg."""
    for name in ("bench", "evaluate", "export", "prune", "quantize", "train", "tune", "verify"):
        _, *others = inspect.signature(getattr(clprune, name)).parameters.values()
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others), name


def test_importing_costs_next_to_nothing() -> None:
    """Of Python's own modules neither: until they were imported, Ctrl-C would end the command line with a traceback."""
    script = "import sys; before = set(sys.modules); import clprune.__main__; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert set(result.stdout.split()) <= {"clprune", "clprune.version", "clprune.__main__"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device_context: Session) -> Iterator[Path]:
    """A working folder with the shipped model, an image, and a cfg to train; examples run on the tests' device."""
    models = models_folder()
    for suffix in (".cfg", ".weights", ".names"):
        shutil.copy(models / f"vgg16-digits{suffix}", tmp_path / f"model{suffix}")
    shutil.copy(models / "samples" / "digit-3.png", tmp_path)
    (tmp_path / "small.cfg").write_text(SMALL)
    write_detector(tmp_path / "detector.cfg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLPRUNE_DEVICE", device_context.info.selector)
    yield tmp_path


@pytest.mark.usefixtures("folder", "few_rounds", "few_shares", "quick_candidates")
@pytest.mark.parametrize("name", ["clprune", "Detector", "Model.save", "Runner", *FUNCTIONS])
def test_examples(name: str) -> None:
    if name in ("fit", "prune", "train", "to_torch", "from_torch"):
        pytest.importorskip("torch", reason="training needs PyTorch")
    if name in ("convert", "export", "from_torch"):
        pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    shown: object = clprune
    for part in () if name == "clprune" else name.split("."):
        shown = getattr(shown, part)
    names = {"clprune": clprune, "numpy": np}
    (example,) = doctest.DocTestFinder(recurse=False).find(shown, name, module=False, globs=names)
    assert example.examples, f"{name} has no example"
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not report, "".join(report)
