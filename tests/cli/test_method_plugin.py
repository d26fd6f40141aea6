"""A pruning method of somebody else's package: one file and an entry point, and the command line knows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clprune.cli.shared.methods import make_options
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.darknet.weights import read_weights
from clprune.errors import UsageError
from tests.command_line import clprune

METHOD = """
from dataclasses import dataclass

import numpy as np

from clprune.pruning import Mask, MaskRequest, Method, Options, option


@dataclass(frozen=True, kw_only=True)
class EveryNthOptions(Options):
    \"\"\"Where to begin.\"\"\"

    first_column: int = option(0, least=0, help="the first column that stays.")


def mask_every_nth(weights, request: MaskRequest) -> Mask:
    mask = np.zeros(weights.shape, bool)
    mask[:, request.options.first_column :: round(1 / (1 - request.sparsity))] = True
    return mask


METHOD = Method(name="every-nth", summary="every nth column stays", mask=mask_every_nth, options=EveryNthOptions)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for sys.path in which such a package is installed."""
    folder = tmp_path / "site"
    facts = folder / "example_pruning-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "example_pruning.py").write_text(METHOD)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: example-pruning\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[clprune.pruning_methods]\nevery-nth = example_pruning:METHOD\n")
    return folder


def test_help_shows_its_options_and_another_method_refuses_them(site: Path) -> None:
    shown = " ".join(clprune(site, "prune", "--help").stdout.split())
    assert "every-nth" in shown
    assert "--first-column N every-nth: the first column that stays. Default: 0." in shown
    refused = clprune(
        site, "prune", "a.cfg", "a.weights", "--sparsity", "0.5", "--first-column", "1", "--data", "digits",
        "--epochs", "1", "--out", "b",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "--first-column 1 with --method workgroup: expected every-nth" in refused.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("device_context")
def test_it_prunes_through_the_command_line(site: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    out = tmp_path / "pruned"
    done = clprune(
        site, "prune", model, model.with_suffix(".weights"), "--method", "every-nth", "--first-column", "1",
        "--sparsity", "0.5", "--unit", "4x1", "--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1",
        "--out", out, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "every-nth"
    network = load_network(f"{out}.cfg")
    layer, values = network.layers[2], read_weights(f"{out}.weights", network).layers[2]
    assert isinstance(layer, Convolutional) and layer.prune is not None and values is not None
    assert layer.prune.method == "every-nth"
    matrix = values.weights.reshape(len(values.weights), -1)
    assert not matrix[:, ::2].any() and matrix[:, 1::2].all()


def test_a_broken_plug_in_is_named(site: Path) -> None:
    (site / "example_pruning.py").write_text("METHOD = None\n")
    broken = clprune(site, "prune", "--help")
    assert broken.returncode == 2
    assert "every-nth in clprune.pruning_methods: " in broken.stderr


def test_an_option_that_a_method_has_not_names_those_that_have_it() -> None:
    with pytest.raises(UsageError, match="--balance matrix with --method wsp: expected abwsp or bwsp"):
        make_options("wsp", {"balance": "matrix"})
    with pytest.raises(UsageError, match="--no-refit with --method bcbp: expected abwsp, bwsp or wsp"):
        make_options("bcbp", {"refit": False})
