"""Layers whose weights are stored in fewer bits: what runs of a model then, and what the codes are worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from clprune.container.model import Model
from clprune.darknet.fold import fold_batch_norm, fold_network
from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.quantize import QuantizeSettings, code_weights, layer_name, with_coding
from clprune.darknet.rewrite import fold_cfg
from clprune.darknet.values import Weights
from clprune.errors import UsageError

#: Bits of a weight as PyTorch and darknet have it.
FLOAT_BITS = 32

#: Bits -> how weights are stored in so many.
SETTINGS: Mapping[int, QuantizeSettings] = {
    16: QuantizeSettings(scheme="half", bits=16),
    8: QuantizeSettings(scheme="linear", bits=8),
    4: QuantizeSettings(scheme="codebook", bits=4),
}


def check_bits(bits: Iterable[int]) -> tuple[int, ...]:
    """`bits`, most first, each once. Raises UsageError for others than those of `SETTINGS`."""
    found = tuple(sorted(set(bits), reverse=True))
    for count in found:
        if count not in SETTINGS:
            raise UsageError(f"{count} bits: expected any of {', '.join(map(str, SETTINGS))}")
    return found


def stored(model: Model, bits: Mapping[int, int]) -> Model:
    """`model` with the weights of layers, by index, in so many bits; itself where there are none.

    Batch normalization becomes part of the weights then, of all layers. Those in the Winograd domain and without
    values stay as they are.
    """
    if not bits:
        return model
    network, weights = fold_network(model.network, model.weights)
    layers = list(weights.layers)
    for index, count in bits.items():
        values = layers[index]
        if values is not None and values.winograd is None:
            coding = code_weights(values.weights, SETTINGS[count], name=_name(network, index))
            layers[index] = with_coding(values, coding)
    coded = replace(weights, layers=tuple(layers))
    return replace(model, network=network, weights=coded, cfg_text=fold_cfg(model.text))


def rounded(network: Network, weights: Weights, bits: Mapping[int, int]) -> Weights:
    """`weights` with the values of which layers, by index, are left in so many bits; batch normalization stays."""
    layers = list(weights.layers)
    for index, count in bits.items():
        values = layers[index]
        if values is None or values.winograd is not None:
            continue
        folded = fold_batch_norm(network.layers[index], values).weights
        decoded = code_weights(folded, SETTINGS[count], name=_name(network, index)).decode()
        # what normalization multiplies a channel by is the same before and after
        ratio = np.divide(decoded, folded, out=np.ones_like(folded), where=folded != 0)
        layers[index] = replace(values, weights=values.weights * ratio)
    return replace(weights, layers=tuple(layers))


def _name(network: Network, index: int) -> str:
    layer = network.layers[index]
    assert isinstance(layer, MatrixLayer)
    return layer_name(network, layer)
