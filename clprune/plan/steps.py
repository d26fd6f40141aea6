"""One kernel launch of a plan: what is to be computed, and what was chosen to compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune.darknet.fold import fold_batch_norm, for_bits, shortcut_scales
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.joins import Shortcut
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UsageError
from clprune.kernels.arguments import NO_WEIGHTS
from clprune.kernels.base import Choice, Kernel, Offer
from clprune.kernels.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Step:
    """One launch before a kernel is chosen: `offers` are the ways in which it can be computed, the first one untuned.

    `inputs` and `output` name tensors of the plan; `layer` is None for copies of the plan's own. `constants`: what the
    step multiplies by in place of its layer's weights, weights or (scale, shift) for all channels; `summand`: which of
    a weighted shortcut's it scales. `fused` is the pooling layer or shortcut that the step computes as well. `image` is
    the image of the batch that the step is for, None where it is for all.
    """

    layer: Layer | None
    label: str
    offers: tuple[Offer, ...]
    inputs: tuple[int, ...]
    output: int
    summand: int | None = None
    constants: tuple[float, float] | LayerWeights | None = None
    fused: Layer | None = None
    image: int | None = None


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """An offer that a step could have taken, and the milliseconds measured with it on this device (None where nobody
    has).
    """

    offer: Offer
    time_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Chosen(Step):
    """A step with one of its offers and a tile chosen for a device; `reason` and `alternatives` say why, and between
    what.
    """

    choice: Choice
    tile_origin: str
    reason: str
    alternatives: tuple[Alternative, ...]

    @property
    def kernel(self) -> Kernel[Any, Any]:
        return self.choice.kernel

    @property
    def operation(self) -> Any:
        return self.choice.operation

    @property
    def workload(self) -> Workload:
        return self.choice.offer.workload

    @property
    def tile(self) -> Any:
        return self.choice.tile

    @property
    def algorithm(self) -> str:
        """The label of the offer that was chosen."""
        return self.choice.offer.label


def step_weights(step: Chosen, network: Network, weights: Weights) -> LayerWeights:
    """What the step's kernel multiplies by: its layer's weights with batch normalization folded, or its constants.

    Raises UsageError where the layer has none.
    """
    if not step.kernel.takes_weights(step.operation):
        return NO_WEIGHTS
    if isinstance(step.constants, LayerWeights):
        return step.constants
    if step.constants is not None:
        scale, shift = (np.full(step.operation.input.shape.channels, value, np.float32) for value in step.constants)
        return LayerWeights(weights=scale, biases=shift)
    if step.layer is None:
        raise TypeError(f"{step.label} belongs to no layer and has no weights")
    values = layer_values(step.layer, network, weights)
    if step.summand is not None and isinstance(step.layer, Shortcut):
        scale = shortcut_scales(step.layer, values)[step.summand][: step.operation.channels]
        return LayerWeights(weights=scale, biases=np.zeros_like(scale))
    folded = fold_batch_norm(step.layer, values)
    is_of_bits = isinstance(step.layer, Convolutional) and step.layer.has_bit_border
    return for_bits(step.layer, folded) if is_of_bits else folded


def layer_values(layer: Layer, network: Network, weights: Weights) -> LayerWeights:
    """The values of a layer. Raises UsageError where it has none."""
    values = weights.layers[layer.values_index]
    if values is None:
        raise UsageError(f"{network.path}:{layer.line}: {layer} has no weights to run with")
    return values
