"""A small model of our own with random weights, images to look at, and the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clprune.cli import main
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights

CFG = """\
[net]
width=13
height=11
channels=3

[convolutional]
filters=9
size=3
pad=1
activation=leaky
batch_normalize=1

[maxpool]
size=2
stride=2

[convolutional]
filters=16
size=3
pad=1
activation=relu

[connected]
output=10
activation=linear

[softmax]
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run of the command line left."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failure prints, without its beginning; fails the test where there is not exactly one."""
        lines = [line for line in self.err.splitlines() if line.startswith("clprune: error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("clprune: error: ")


Run = Callable[..., Result]


def with_weights(path: Path, text: str) -> Path:
    """Write a cfg, and random weights beside it."""
    path.write_text(text)
    network = load_network(path)
    write_weights(path.with_suffix(".weights"), network, random_weights(network, seed=3))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `clprune` with arguments, its output not as wide as a terminal that the tests happen to have."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run_command(*arguments: str | Path) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(status=caught.value.code, out=captured.out, err=captured.err)

    return run_command


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A cfg with its weights beside it."""
    return with_weights(tmp_path / "small.cfg", CFG)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what `fit` times: enough where only the way is tried."""
    for module in ("clprune.fitting.times", "clprune.workflow.proof"):
        monkeypatch.setattr(f"{module}.MEASURED_MS", 0.0)
        monkeypatch.setattr(f"{module}.ROUNDS", 3)


@pytest.fixture
def few_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the ways of a layer that `fit` measures, each of which builds kernels of its own, and few held-out images
    where those are drawn.
    """
    monkeypatch.setattr("clprune.data.fractals.COUNT", 64)
    for name, shares in (("MEASURED", (0.5, 0.75)), ("BETWEEN", (0.625,)), ("CHANNEL", (0.5,))):
        for module in ("kinds", "build"):
            monkeypatch.setattr(f"clprune.fitting.{module}.{name}_SHARES", shares)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images of unequal sides."""
    paths = []
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (17 + index, 31, 3), dtype=np.uint8)
        paths.append(tmp_path / f"image{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file that is called an image and is none."""
    path = tmp_path / "broken.png"
    path.write_text("no image")
    return path
