"""Weights of a file into a torch module and back."""

from __future__ import annotations

import torch

from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.training.layers import ValueModule
from clprune.training.module import NetworkModule


def load_module(network: Network, weights: Weights | None = None) -> NetworkModule:
    """A module of `network` that holds copies of `weights`, or torch's current random state's initial values.

    Layers whose weights are in the Winograd domain stay there. Raises UsageError where a layer's weights are
    missing, UnsupportedLayerError for layers that cannot be trained.
    """
    found = [] if weights is None else [values.winograd if values else None for values in weights.layers]
    winograd = {index: tile for index, tile in enumerate(found) if tile is not None}
    module = NetworkModule(network, winograd=winograd)
    if weights is not None:
        with torch.no_grad():
            for layer, torch_layer in zip(network.layers, module.layers, strict=True):
                if not isinstance(torch_layer, ValueModule):
                    continue
                values = weights.layers[layer.index]
                if values is None:
                    raise UsageError(f"{layer} has no weights: expected a file that holds them (and no dontload=1)")
                torch_layer.load(values)
    return module


def store_weights(module: NetworkModule, *, seen: int = 0) -> Weights:
    """Copies of the module's values as float32 arrays; `seen` is the number of training images for the header."""
    layers = tuple(layer.store() if isinstance(layer, ValueModule) else None for layer in module.layers)
    return Weights(layers=layers, seen=seen)
