"""Sizes and loading times of a model's forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import QuantizeSettings
from clprune.darknet.random_weights import random_weights
from clprune.errors import WorkerError
from tools.bench import packed_size
from tools.bench.packed_size import COLUMNS, UNSTRUCTURED, Form, measure_form

TEXT = "[net]\nheight=5\nwidth=7\nchannels=33\n[convolutional]\nfilters=65\nsize=3\npad=1\n[connected]\noutput=31\n"


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "a.cfg"
    path.write_text(TEXT)
    return load_network(path)


def test_forms_become_smaller(network: Network, tmp_path: Path) -> None:
    settings = QuantizeSettings(scheme="codebook", bits=4)
    forms = (
        Form(name="darknet", suffix=".weights"),
        Form(name="columns", pruning=COLUMNS),
        Form(name="coded", pruning=UNSTRUCTURED, settings=settings),
    )
    said: list[str] = []
    sizes = [
        measure_form(network, random_weights(network, seed=0), form, folder=tmp_path, rounds=1, say=said.append)
        for form in forms
    ]
    darknet, columns, coded = (size.size_bytes for size in sizes)
    assert darknet == 20 + 4 * (65 * 33 * 9 + 65 + 65 * 35 * 31 + 31)
    assert 0.1 * darknet < columns < 0.2 * darknet
    assert coded < 0.04 * darknet
    assert [size.form for size in sizes] == ["darknet", "columns", "coded"]
    assert all(0 < size.read.best_ms <= size.load.best_ms for size in sizes)
    assert [text.partition(":")[0] for text in said] == ["darknet", "columns", "coded"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.cfg"]


def test_a_load_that_fails(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_size, "save_weights", lambda path, network, weights: path.write_bytes(b"garbage"))
    with pytest.raises(WorkerError, match=r"loading .*form\.safetensors ended with status 1: .*no safetensors file"):
        measure_form(
            network, random_weights(network, seed=0), Form(name="a"), folder=tmp_path, rounds=1, say=lambda text: None
        )
