"""Models of a benchmark: found, pruned and written as pairs, answered in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clprune.container.model import load_model
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_images
from clprune.darknet.weights import write_weights
from clprune.errors import UsageError
from clprune.runner.compare import weights_kept
from tests.imaginary import imaginary_device
from tools.bench.models import cut_texts, ends_in_softmax, find_cfg, load_or_make_weights
from tools.bench.prepare import Entry, Preparation, prepare
from tools.bench.units import Tuning, Variant

NetworkOf = Callable[..., Network]

DENSE = Variant(name="dense")
PRUNED = Variant(name="pruned", sparsity=0.5, fc_sparsity=0.75)
PREPARATION = Preparation(tuning=Tuning(), rows={}, seed=4)


def test_find_cfg(network_of: NetworkOf) -> None:
    path = network_of().path
    assert find_cfg(str(path)) == path
    assert find_cfg("vgg16").name == "vgg16.cfg"
    with pytest.raises(UsageError, match=r"model 'absent': expected the path of a cfg, or one of .*vgg16"):
        find_cfg("absent")


def test_weights_of_a_file_or_random(network_of: NetworkOf) -> None:
    network = network_of()
    weights, source = load_or_make_weights(network, seed=7)
    assert source == "random, seed 7"
    write_weights(network.path.with_suffix(".weights"), network, weights)
    assert load_or_make_weights(network, seed=8)[1] == "network.weights"


def test_images(network_of: NetworkOf) -> None:
    network = network_of(batch=2)
    x = random_images(network, seed=1)
    assert (x.shape, x.dtype) == ((2, 4, 9, 12), np.float32)
    assert np.array_equal(x, random_images(network, seed=1))
    assert ends_in_softmax(network)


def test_prepare_without_a_device(network_of: NetworkOf, tmp_path: Path) -> None:
    """Only the dense variant: which unit to prune in is a question of the device."""
    entry = Entry(model=str(network_of().path), batch=2, variants=(DENSE, PRUNED))
    prepared = prepare(entry, PREPARATION, device=None, folder=tmp_path, say=lambda text: None)
    assert list(prepared.files) == ["dense"]
    assert prepared.expected["dense"].shape == (2, 7)
    assert prepared.expected["dense"].sum(axis=1) == pytest.approx(1)


def test_written_pairs_can_be_read(network_of: NetworkOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.bench.prepare.tune_entry", lambda *arguments, **options: None)
    entry = Entry(model=str(network_of().path), batch=1, variants=(DENSE, PRUNED))
    prepared = prepare(entry, PREPARATION, device=imaginary_device(), folder=tmp_path, say=lambda text: None)
    model = load_model(prepared.files["50-75"])
    assert len(cut_texts(model.path)) == 2
    assert weights_kept(model.network, model.weights) < 0.6
    assert not np.array_equal(prepared.expected["dense"], prepared.expected["50-75"])
