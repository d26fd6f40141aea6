"""Weights of a file into a torch module and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UsageError
from clprune.training.layers import Normalize, Weighted
from clprune.training.module import NetworkModule
from clprune.training.winograd_layer import WinogradConvolution


def load_module(network: Network, weights: Weights | None = None) -> NetworkModule:
    """A module of `network` that holds copies of `weights`, or torch's current random state's initial values.

    Layers whose weights are in the Winograd domain stay there.     Raises UsageError where a layer's weights are
    missing, UnsupportedLayerError for layers that cannot be trained.
    """
    found = [] if weights is None else [values.winograd if values else None for values in weights.layers]
    winograd = {index: tile for index, tile in enumerate(found) if tile is not None}
    module = NetworkModule(network, winograd=winograd)
    if weights is not None:
        with torch.no_grad():
            for layer, torch_layer in zip(network.layers, module.layers, strict=True):
                values = weights.layers[layer.index]
                if not isinstance(torch_layer, Weighted | Normalize):
                    continue
                if values is None:
                    raise UsageError(f"{layer} has no weights: expected a file that holds them (and no dontload=1)")
                _load_layer(torch_layer, values)
    return module


def store_weights(module: NetworkModule, *, seen: int = 0) -> Weights:
    """Copies of the module's values as float32 arrays; `seen` is the number of training images for the header."""
    layers = tuple(_store_layer(layer) for layer in module.layers)
    return Weights(layers=layers, seen=seen)


def _load_layer(layer: Weighted | Normalize, values: LayerWeights) -> None:
    normalize = layer if isinstance(layer, Normalize) else layer.normalize
    if isinstance(layer, Weighted):
        _copy(layer.weights, values.weights.reshape(layer.weights.shape))
        if layer.biases is not None:
            _copy(layer.biases, values.biases)
    if normalize is not None:
        if values.scales is None or values.mean is None or values.variance is None:
            raise UsageError("batch normalization without scales, mean and variance: expected weights not yet folded")
        _copy(normalize.biases, values.biases)
        _copy(normalize.scales, values.scales)
        _copy(normalize.mean, values.mean)
        _copy(normalize.variance, values.variance)


def _store_layer(layer: torch.nn.Module) -> LayerWeights | None:
    if isinstance(layer, Normalize):
        return _with_statistics(layer, weights=np.empty(0, np.float32))
    if not isinstance(layer, Weighted):
        return None
    weights, winograd = _array(layer.weights), None
    if isinstance(layer, WinogradConvolution):
        winograd = layer.winograd
        weights = weights.reshape(layer.stored_shape)
    if layer.normalize is not None:
        return replace(_with_statistics(layer.normalize, weights=weights), winograd=winograd)
    assert layer.biases is not None
    return LayerWeights(weights=weights, biases=_array(layer.biases), winograd=winograd)


def _with_statistics(layer: Normalize, *, weights: NDArray[np.float32]) -> LayerWeights:
    return LayerWeights(
        weights=weights,
        biases=_array(layer.biases),
        scales=_array(layer.scales),
        mean=_array(layer.mean),
        variance=_array(layer.variance),
    )


def _copy(target: Tensor, values: NDArray[np.float32]) -> None:
    target.copy_(torch.from_numpy(np.array(values, np.float32)))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().contiguous().cpu().numpy(), np.float32, order="C")
