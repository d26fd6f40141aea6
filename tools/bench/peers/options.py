"""What every adapter is told: the model's files, the batch, the threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clprune.container.load import load_weights
from clprune.darknet.network import load_network
from tools.bench.chain import Chain, chain_of


def load_chain(options: Mapping[str, Any]) -> Chain:
    """The network of `options["model"]` and `options["weights"]` for `options["batch"]` images."""
    network = load_network(options["model"], batch=options["batch"])
    return chain_of(network, load_weights(options["weights"], network))
