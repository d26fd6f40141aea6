"""The values of a network's layers in memory, and which arrays each kind of layer has.

The order of the arrays is that of darknet's weights file (parser.c), which is also how they are listed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.layers import BatchNorm, Connected, Convolutional, Layer, Local
from clprune.quantization.coding import Coding

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """The values of one layer, float32, C order.

    | layer | `weights` | `biases` | `scales`, `mean`, `variance` |
    |---|---|---|---|
    | convolutional | `[filters, channels / groups, size, size]` | `[filters]` | with batch_normalize `[filters]` |
    | connected | `[outputs, inputs]` | `[outputs]` | with batch_normalize `[outputs]` |
    | local | `[locations, filters, channels, size, size]` | `[outputs]` | None |
    | batchnorm | `[0]`; folded: `[channels]` factors | `[channels]` | `[channels]`; folded: None |

    `winograd` is the output tile m where a convolution's weights live in the Winograd domain F(m x m, 3 x 3): they are
    then `[m + 2, m + 2, filters, channels]`. `coding` says how the weights lie in few bits; `weights` then equal
    `coding.decode()` exactly, so that whatever knows nothing of codings keeps working.
    """

    weights: FloatArray
    biases: FloatArray
    scales: FloatArray | None = None
    mean: FloatArray | None = None
    variance: FloatArray | None = None
    winograd: int | None = None
    coding: Coding | None = None


def layer_weights(arrays: Mapping[str, FloatArray]) -> LayerWeights:
    """Values of a layer in the spatial domain, by the names of the fields; normalization may be missing."""
    return LayerWeights(
        weights=arrays["weights"],
        biases=arrays["biases"],
        scales=arrays.get("scales"),
        mean=arrays.get("mean"),
        variance=arrays.get("variance"),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A weights file: its header, and one entry per layer of the network.

    An entry is None for a layer without values, one with `dontload`, and one behind the end of a truncated file.
    `major`, `minor`, `revision` are the header's words (bit patterns of floats in the oldest files), `seen` the
    number of training images.
    """

    layers: tuple[LayerWeights | None, ...]
    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0


@dataclass(frozen=True, kw_only=True)
class Field:
    """One array of a layer in a file: the name of the LayerWeights field and its shape, in float32 values."""

    name: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        return math.prod(self.shape)


def skipped(layer: Layer) -> bool:
    """Whether the cfg says that this layer has no values in a weights file (`dontload`)."""
    return isinstance(layer, Convolutional | Connected | Local | BatchNorm) and layer.dontload


def layer_fields(layer: Layer, *, biases: bool) -> list[Field]:
    """The arrays of a layer in the order of the file; `biases` says whether `[batchnorm]` layers store theirs."""
    if isinstance(layer, Convolutional):
        norm = _statistics(layer.filters) if layer.batch_normalize else []
        return [Field(name="biases", shape=(layer.filters,)), *norm, Field(name="weights", shape=layer.weights_shape)]
    if isinstance(layer, Connected):
        norm = _statistics(layer.outputs) if layer.batch_normalize else []
        return [Field(name="biases", shape=(layer.outputs,)), Field(name="weights", shape=layer.weights_shape), *norm]
    if isinstance(layer, Local):
        shapes = {"biases": (layer.output.elements,), "weights": layer.weights_shape}
        return [Field(name=name, shape=shape) for name, shape in shapes.items()]
    if isinstance(layer, BatchNorm):
        channels = layer.input.channels
        return [*([Field(name="biases", shape=(channels,))] if biases else []), *_statistics(channels)]
    return []


def _statistics(channels: int) -> list[Field]:
    return [Field(name=name, shape=(channels,)) for name in ("scales", "mean", "variance")]


def value_count(layer: Layer, *, biases: bool) -> int:
    """float32 values of a layer in a file."""
    return sum(field.values for field in layer_fields(layer, biases=biases))


def convolution_matrix(weights: LayerWeights) -> FloatArray:
    """The weights as a matrix `[M, K]`, output channels x weights per output channel: a view where possible."""
    return weights.weights.reshape(len(weights.weights), -1)


def unit_matrix(values: LayerWeights) -> FloatArray:
    """The matrix that units are cut from: `[M, K]`, in the Winograd domain `[alpha^2 * out, in]`; a view."""
    if values.winograd is None:
        return convolution_matrix(values)
    return values.weights.reshape(-1, values.weights.shape[-1])
