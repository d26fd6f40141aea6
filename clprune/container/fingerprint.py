"""What a container says of the network that its weights belong to, so that they are never read into another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clprune.darknet.kinds.base import Layer, WeightedLayer
from clprune.darknet.network import Network
from clprune.errors import UsageError, shown


def network_record(network: Network) -> list[dict[str, Any]]:
    """What must agree between a file and a cfg: kind and shapes of every layer that has values."""
    return [_layer_facts(layer) for layer in network.layers if layer.has_values]


def check_network(network: Network, found: list[Any]) -> None:
    """Raise UsageError naming the first layer in which `network` and a file's record of its network differ."""
    expected = network_record(network)
    for mine, its in zip(expected, found, strict=False):
        if mine != its:
            raise UsageError(f"{_described(its)}: expected {_described(mine)}, as {network.path} has it")
    if len(expected) != len(found):
        raise UsageError(f"{len(found)} layers with values: expected {len(expected)}, as {network.path} has them")


def _layer_facts(layer: Layer) -> dict[str, Any]:
    facts: dict[str, Any] = {"layer": layer.index, "kind": layer.kind}
    if not isinstance(layer, WeightedLayer):
        shape = layer.arrays.get("weights", (layer.input.channels,))
        return facts | {"channels": math.prod(shape)}
    facts["weights"] = list(layer.arrays["weights"])
    return facts | ({"batch_normalize": True} if "variance" in layer.arrays else {})


def _described(facts: Any) -> str:
    if not isinstance(facts, Mapping):
        return shown(repr(facts))
    layer, kind, weights, channels = (shown(facts.get(name)) for name in ("layer", "kind", "weights", "channels"))
    shape = f" weights {weights}" if "weights" in facts else f" {channels} channels"
    normalized = ", batch_normalize" if facts.get("batch_normalize") else ""
    return f"layer {layer} [{kind}]{shape}{normalized}"
