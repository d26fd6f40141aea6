"""The values of a network's layers in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clprune.quantization.coding import Coding

FloatArray = NDArray[np.float32]


def _none() -> FloatArray:
    return np.empty(0, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """The values of one layer, float32, C order.

    | layer | `weights` | `biases` | `scales`, `mean`, `variance` |
    |---|---|---|---|
    | convolutional | `[filters, channels / groups, size, size]` | `[filters]` | with batch_normalize `[filters]` |
    | connected | `[outputs, inputs]` | `[outputs]` | with batch_normalize `[outputs]` |
    | local | `[locations, filters, channels, size, size]` | `[outputs]` | None |
    | shortcut with weights | `[summands]` or `[summands, channels]` | `[0]` | None |
    | implicit | `[filters, atoms, 1]` | `[0]` | None |
    | batchnorm | `[0]`; folded: `[channels]` factors | `[channels]` | `[channels]`; folded: None |

    `winograd` is the output tile m where a convolution's weights live in the Winograd domain F(m x m, 3 x 3): they are
    then `[m + 2, m + 2, filters, channels]`. `coding` says how the weights lie in few bits; `weights` then equal
    `coding.decode()` exactly, so that whatever knows nothing of codings keeps working.
    """

    weights: FloatArray = field(default_factory=_none)
    biases: FloatArray = field(default_factory=_none)
    scales: FloatArray | None = None
    mean: FloatArray | None = None
    variance: FloatArray | None = None
    winograd: int | None = None
    coding: Coding | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A weights file: its header, and one entry per layer of the network.

    An entry is None for a layer without values, one with `dontload`, and one behind the end of a truncated file.
    `major`, `minor`, `revision` are the header's words (bit patterns of floats in the oldest files), `seen` the
    number of training images, in `seen_bytes` where the version has more than 4. `stores_optional`: the file holds
    `Layer.optional_arrays`, even if all are zero. `has_header`: the words are those of a file, or of what it became.
    """

    layers: tuple[LayerWeights | None, ...]
    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0
    seen_bytes: int = 8
    has_header: bool = False
    stores_optional: bool = False


def convolution_matrix(weights: LayerWeights) -> FloatArray:
    """The weights as a matrix `[M, K]`, output channels x weights per output channel: a view where possible."""
    return weights.weights.reshape(len(weights.weights), -1)


def unit_matrix(values: LayerWeights) -> FloatArray:
    """The matrix that units are cut from: `[M, K]`, in the Winograd domain `[alpha^2 * out, in]`; a view."""
    if values.winograd is None:
        return convolution_matrix(values)
    return values.weights.reshape(-1, values.weights.shape[-1])
