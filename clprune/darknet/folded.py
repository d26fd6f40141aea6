"""Networks without batch normalization: a cfg and weights in which it has become part of weights and biases."""

from __future__ import annotations

from dataclasses import replace

from clprune.darknet.cfg import split_lines, stripped
from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.layers import Connected, Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import Weights

_KEY = "batch_normalize"


def fold_cfg(text: str) -> str:
    """The text of a cfg with `batch_normalize=0` wherever it said otherwise; all else stays, comments too."""
    lines = split_lines(text)
    for number, line in enumerate(lines):
        key, _, value = stripped(line.rstrip("\n")).partition("=")
        if key == _KEY and value != "0":
            ending = "\r\n" if line.endswith("\r\n") else "\n" if line.endswith("\n") else ""
            lines[number] = f"{_KEY}=0{ending}"
    return "".join(lines)


def fold_network(network: Network, weights: Weights) -> tuple[Network, Weights]:
    """The network that `fold_cfg` describes and its weights: the same answers up to rounding.

    Layers of kind `[batchnorm]` stay. Raises UsageError where statistics are missing.
    """
    layers = list(network.layers)
    values = list(weights.layers)
    for index, layer in enumerate(network.layers):
        given = values[index]
        if isinstance(layer, Convolutional | Connected) and layer.batch_normalize:
            layers[index] = replace(layer, batch_normalize=False)
            if given is not None:
                values[index] = fold_batch_norm(layer, given)
    return replace(network, layers=tuple(layers)), replace(weights, layers=tuple(values))
