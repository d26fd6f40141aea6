"""A kind of layer of somebody else's package: one file and an entry point, and everything takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.registry import find_kind
from clprune.darknet.weights import write_weights
from clprune.errors import CfgError, UsageError
from clprune.opencl import Session
from clprune.pruning.channels import channel_groups
from clprune.pruning.shrink import shrink_network
from clprune.runner import Runner
from tests.command_line import clprune

LAYER = """
from dataclasses import dataclass

from clprune.darknet.kinds.base import Keys, Layer, number


@dataclass(frozen=True, kw_only=True)
class ScaleBy(Layer):
    \"\"\"Every value times `factor`.\"\"\"

    names = ("scale_by",)
    keys = Keys(silent="comment", neutral={"power": 1})
    takes_vector = True
    carries_channels = True

    factor: float = number(1.0)

    def lower(self, site):
        from clprune.kernels.pointwise import POINTWISE, PointwiseOperation

        operation = PointwiseOperation(input=site.x, output=site.y, is_scaled=True)
        site.add(POINTWISE, operation, constants=(self.factor, 0.0))

    def torch_module(self):
        from torch import nn

        class Scale(nn.Module):
            def forward(module, x):
                return self.factor * x

        return Scale()
"""

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
[scale_by]
factor = -1.5
comment = mine
[convolutional]
filters=4
size=3
activation=linear
[connected]
output=10
activation=linear
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path in which such a package is installed, and packages that are broken."""
    folder = tmp_path / "site"
    facts = folder / "example_layer-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "example_layer.py").write_text(LAYER)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: example-layer\nVersion: 1.0\n")
    kinds = {"scale_by": "ScaleBy", "absent": "Absent", "keys": "Keys"}
    lines = ["[clprune.layer_kinds]", *(f"{name} = example_layer:{value}" for name, value in kinds.items())]
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    find_kind.cache_clear()
    yield folder
    find_kind.cache_clear()


@pytest.fixture
def model(site: Path, tmp_path: Path) -> Path:
    """The cfg of a network with such a layer, its weights beside it."""
    cfg = tmp_path / "scaled.cfg"
    cfg.write_text(CFG)
    network = load_network(cfg)
    write_weights(cfg.with_suffix(".weights"), network, random_weights(network, seed=3))
    return cfg


@pytest.mark.usefixtures("device_context")
def test_the_command_line_runs_it(site: Path, model: Path, images: list[Path]) -> None:
    verified = clprune(site, "verify", model)
    assert verified.returncode == 0, verified.stderr
    assert "scale_by" in verified.stdout
    answered = clprune(site, "infer", model, images[0], "--top", "3")
    assert answered.returncode == 0, answered.stderr
    assert len(answered.stdout.splitlines()) == 1 + 3


def test_runner_and_training_agree(model: Path, device_context: Session) -> None:
    convert = pytest.importorskip("clprune.training.module")
    torch = pytest.importorskip("torch")
    network = load_network(model)
    weights = random_weights(network, seed=3)
    x = np.random.default_rng(0).random((1, 3, 11, 13), np.float32)
    with Runner(network, weights, session=device_context) as runner:
        answer = runner(x)
    module = convert.load_module(network, weights).eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_channels_may_go_before_it(model: Path) -> None:
    network = load_network(model)
    group = channel_groups(network)[0]
    assert (group.producers, group.obstacle) == ((0,), None)
    mask = np.ones((9, 27), bool)
    mask[2:4] = False
    shrunk = shrink_network(network, random_weights(network, seed=3), {0: mask})
    assert [layer.output.channels for layer in shrunk.network.layers] == [7, 7, 4, 10]


def test_its_keys_are_checked(model: Path) -> None:
    for line, words in (("power = 2", "expected 1"), ("factor = x", "a number")):
        model.write_text(CFG.replace("factor = -1.5", line))
        with pytest.raises(CfgError, match=rf":11: \[scale_by\] .*{words}"):
            load_network(model)


@pytest.mark.parametrize(
    ("name", "words"), [("absent", "example-layer cannot be loaded"), ("keys", "expected a subclass of")]
)
def test_what_is_no_kind_is_refused(model: Path, name: str, words: str) -> None:
    model.write_text(CFG.replace("[scale_by]", f"[{name}]"))
    with pytest.raises(UsageError, match=words):
        load_network(model)
