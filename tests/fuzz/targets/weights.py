"""Values of a network: darknet's files and packed ones."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clprune.container.load import load_weights
from clprune.container.read import describe_packed
from clprune.container.write import write_packed
from clprune.darknet.fold import fold_network
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.darknet.weights import write_weights
from clprune.quantization.coding import LinearCoding
from tests.container.networks import CFG, CONVOLUTION, changed, odd_network, pruned
from tests.fuzz.mutation import mutated_container
from tests.fuzz.targets.target import Target, run, small_network

if TYPE_CHECKING:
    from clprune.opencl import Session


def _check_finite(weights: Weights) -> None:
    for layer in weights.layers:
        for name in ("weights", "biases", "scales", "mean", "variance"):
            array = getattr(layer, name, None)
            assert array is None or np.isfinite(array).all(), f"accepted {name} that are not finite"


@cache
def _container_network() -> Network:
    """The same without the layer that no kernel runs yet."""
    text = re.sub(r"\[local\][^[]*", "", CFG)
    return odd_network(small_network().path.parent, text=text, name="container")


def _weights_seeds(folder: Path) -> None:
    network = small_network()
    write_weights(folder / "a.weights", network, random_weights(network, seed=1))
    values = (folder / "a.weights").read_bytes()
    (folder / "old.weights").write_bytes(values[:4] + b"\1\0\0\0" + values[8:16] + values[20:])  # a 4-byte counter
    (folder / "page.weights").write_bytes(b"<!DOCTYPE html><html><body>Not found</body></html>\n" * 20)


def _handle_weights(path: Path, session: Session | None) -> str:
    weights = _read(path, small_network())
    return f"{weights.major}.{weights.minor}"


def _read(path: Path, network: Network) -> Weights:
    weights = load_weights(path, network)
    _check_finite(weights)
    _check_finite(fold_network(network, weights)[1])
    return weights


def _container_seeds(folder: Path) -> None:
    network = _container_network()
    sparse = np.random.default_rng(1)
    few = random_weights(network, seed=5)
    for layer in network.matrix_layers:
        few = changed(few, layer.index, lambda values: pruned(values, sparse.random(values.weights.shape) < 0.1))
    write_packed(folder / "few.safetensors", network, few)
    coding = LinearCoding(
        codes=np.ones((7, 13, 3, 3), np.int8), scales=np.ones(7, np.float32), activation_scale=0.5
    )  # fmt: skip
    coded = changed(
        random_weights(network, seed=5),
        CONVOLUTION,
        lambda values: replace(values, weights=coding.decode(), coding=coding),
    )
    write_packed(folder / "coded.safetensors", network, coded)


def _handle_container(path: Path, session: Session | None) -> str:
    stored = describe_packed(path)
    for layer in stored:
        assert 0 <= layer.kept_share <= 1, "accepted a share outside 0..1"
        assert layer.kind.isprintable(), "accepted a kind that cannot be printed"
    network = _container_network()
    weights = _read(path, network)
    if session is not None:
        run(network, weights, session)  # with weights near float32's limit nothing can be right
    return " ".join(f"{layer.kind} {layer.kept_share:.1f}" for layer in stored)


TARGETS = [
    Target(name="weights", suffix=".weights", seeds=_weights_seeds, handle=_handle_weights),
    Target(
        name="containers", suffix=".safetensors", seeds=_container_seeds, handle=_handle_container,
        mutate=mutated_container, runs=True,
    ),
]  # fmt: skip
