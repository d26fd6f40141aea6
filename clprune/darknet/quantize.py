"""All weights of a network in fewer bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import UsageError
from clprune.quantization.codebook import codebook_coding
from clprune.quantization.coding import Coding, half_coding
from clprune.quantization.linear import linear_coding

Scheme = Literal["linear", "codebook", "half"]
#: How many bits a weight of each scheme may have.
BITS: Mapping[str, tuple[int, ...]] = {"linear": (8,), "codebook": (4, 8), "half": (16,)}


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings:
    """Scheme and bits of every convolutional and connected layer. Raises UsageError for a pair that does not exist."""

    scheme: Scheme
    bits: int

    def __post_init__(self) -> None:
        if self.scheme not in get_args(Scheme):
            raise UsageError(f"scheme {self.scheme!r}: expected one of {', '.join(get_args(Scheme))}")
        if self.bits not in BITS[self.scheme]:
            expected = " or ".join(map(str, BITS[self.scheme]))
            raise UsageError(f"{self.bits} bits by scheme {self.scheme}: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class QuantizedLayer:
    """What quantization did to one layer.

    `kept_share` is the share of weights that are not zero, `norm_error` ||w - decoded|| / ||w||, 0 where w is zero.
    """

    layer: int
    kind: str
    weights: int
    bits: int
    kept_share: float
    norm_error: float
    activation_scale: float | None


def layer_name(network: Network, layer: MatrixLayer) -> str:
    """How errors call a layer: its file, line, index and kind."""
    return f"{network.path}:{layer.line}: {layer}"


def quantize_network(
    network: Network,
    weights: Weights,
    settings: QuantizeSettings,
    *,
    activation_scales: Mapping[int, float] | None = None,
) -> Weights:
    """The same network with the weights of every convolutional and connected layer coded; biases stay float32.

    Batch normalization must be part of the weights already (`clprune.darknet.fold`), so that the codes are what the
    device multiplies: a scale applied afterwards would need a codebook per channel. `activation_scales` are the scales
    of layers' inputs by layer index, for scheme "linear". Layers whose weights live in the Winograd domain or that have
    none (`dontload`) stay as they are. Raises UsageError, with the layer's name for weights that are not finite.
    """
    if activation_scales is not None and settings.scheme != "linear":
        raise UsageError(f"activations with scheme {settings.scheme}: expected linear, whose products are integers")
    layers = list(weights.layers)
    for layer in network.matrix_layers:
        values = layers[layer.index]
        if values is None or values.winograd is not None:
            continue
        if layer.batch_normalize:
            raise UsageError(
                f"{layer_name(network, layer)} has batch normalization: fold it first (clprune.darknet.fold)"
            )
        scale = None if activation_scales is None else activation_scales.get(layer.index)
        coding = code_weights(values.weights, settings, name=layer_name(network, layer), activation_scale=scale)
        layers[layer.index] = with_coding(values, coding)
    return replace(weights, layers=tuple(layers))


def code_weights(
    weights: FloatArray, settings: QuantizeSettings, *, name: str, activation_scale: float | None = None
) -> Coding:
    """One layer's coding by `settings`. Raises UsageError with the layer's `name`."""
    if settings.scheme == "linear":
        return linear_coding(weights, name=name, activation_scale=activation_scale)
    if settings.scheme == "codebook":
        return codebook_coding(weights, name=name, bits=settings.bits)
    return half_coding(weights, name=name)


def with_coding(values: LayerWeights, coding: Coding) -> LayerWeights:
    """`values` with the coding and the weights that it decodes to."""
    return replace(values, weights=coding.decode(), coding=coding)


def input_scale(layer: MatrixLayer, values: LayerWeights) -> float | None:
    """The scale of a layer's input where that is multiplied as codes, not so in channel groups or before batch
    normalization; else None.
    """
    is_plain = not layer.batch_normalize and not layer.is_grouped
    return getattr(values.coding, "activation_scale", None) if is_plain else None


def zero_masks(network: Network, weights: Weights) -> dict[int, NDArray[np.bool_]]:
    """bool `[output channels, K]` by layer index, True where a weight is not zero, of the layers that hold zeros.

    Of layers in the Winograd domain `[alpha^2 * output channels, input channels]`. With these masks held, training
    keeps what pruning removed, by whatever method.
    """
    masks = {}
    for layer in network.matrix_layers:
        values = weights.layers[layer.index]
        if values is not None and np.count_nonzero(values.weights) < values.weights.size:
            rows = math.prod(values.weights.shape[: 1 if values.winograd is None else 3])
            masks[layer.index] = values.weights.reshape(rows, -1) != 0
    return masks


def describe_quantized(network: Network, before: Weights, after: Weights) -> tuple[QuantizedLayer, ...]:
    """What became of each layer: `before` the folded float weights, `after` the coded ones."""
    described = []
    for layer in network.matrix_layers:
        old, new = before.layers[layer.index], after.layers[layer.index]
        if old is None or new is None:
            continue
        norm = float(np.linalg.norm(old.weights))
        difference = float(np.linalg.norm(old.weights - new.weights))
        described.append(
            QuantizedLayer(
                layer=layer.index,
                kind=layer.kind,
                weights=new.weights.size,
                bits=32 if new.coding is None else new.coding.bits,
                kept_share=float(np.count_nonzero(new.weights)) / max(new.weights.size, 1),
                norm_error=difference / norm if norm > 0 else 0.0,
                activation_scale=getattr(new.coding, "activation_scale", None),
            )
        )
    return tuple(described)
