"""What torch modules with values of a weights file have in common: how they take and give them, and normalize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from clprune.darknet.fold import BATCH_NORM_EPSILON
from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.training.activations import activate
from clprune.training.ranks import current_ranks, sum_over_ranks
from clprune.training.rounding import round_input, round_weights

#: Weight of a batch in the running statistics; darknet uses 0.01, which lags too far behind in short trainings.
BATCH_NORM_MOMENTUM = 0.1


class ValueModule(nn.Module):
    """A module of a layer that has values in a weights file."""

    def load(self, values: LayerWeights) -> None:
        """Take copies of `values`. Raises UsageError where some are missing."""
        raise NotImplementedError

    def store(self) -> LayerWeights:
        """Copies of the module's values as float32 arrays."""
        raise NotImplementedError


class Normalize(ValueModule):
    """Batch normalization per channel, as `[batchnorm]` and `batch_normalize=1` have it.

    With `holds_statistics` mean and variance stay as they are in training too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.momentum = BATCH_NORM_MOMENTUM
        self.holds_statistics = False
        self.scales = nn.Parameter(torch.ones(channels))
        self.biases = nn.Parameter(torch.zeros(channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        is_measuring = self.training and not self.holds_statistics
        if is_measuring and current_ranks().count > 1:
            return self._over_all_ranks(x)
        return functional.batch_norm(
            x,
            self.mean,
            self.variance,
            self.scales,
            self.biases,
            training=is_measuring,
            momentum=self.momentum,
            eps=BATCH_NORM_EPSILON,
        )

    def load(self, values: LayerWeights) -> None:
        if values.scales is None or values.mean is None or values.variance is None:
            raise UsageError("batch normalization without scales, mean and variance: expected weights not yet folded")
        for name in ("biases", "scales", "mean", "variance"):
            copy_into(getattr(self, name), getattr(values, name))

    def store(self) -> LayerWeights:
        return LayerWeights(
            biases=array_of(self.biases),
            scales=array_of(self.scales),
            mean=array_of(self.mean),
            variance=array_of(self.variance),
        )

    def _over_all_ranks(self, x: Tensor) -> Tensor:
        """The same with the statistics of all processes' images; torch's own SyncBatchNorm runs on GPUs only."""
        values = x.float()
        images = values.new_tensor([values.numel() / values.shape[1]])
        sums = sum_over_ranks(torch.cat([values.sum((0, 2, 3)), images]))
        mean, count = sums[:-1] / sums[-1], float(sums[-1].detach())
        centred = values - mean[:, None, None]
        variance = sum_over_ranks((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        factors = self.scales * torch.rsqrt(variance + BATCH_NORM_EPSILON)
        return (centred * factors[:, None, None] + self.biases[:, None, None]).to(x.dtype)


class Weighted(ValueModule):
    """What convolutional and connected layers share: weights `[out, ...]`, then normalization or biases, activation.

    `winograd` is the output tile m where the weights are in the Winograd domain. `rounds_weights` and `input_scale` let
    the layer compute with the values of linear codes (`HeldCodes` sets them).
    """

    winograd: int | None = None

    def __init__(self, layer: MatrixLayer) -> None:
        super().__init__()
        shape = layer.weights_shape
        self.activation = layer.activation
        self.weights = nn.Parameter(torch.empty(shape))
        self.initialize()
        self.normalize = Normalize(shape[0]) if layer.batch_normalize else None
        self.biases = None if layer.batch_normalize else nn.Parameter(torch.zeros(shape[0]))
        self.rounds_weights = False
        self.input_scale: float | None = None

    def initialize(self) -> None:
        """Draw the weights with which training from nothing begins."""
        nn.init.kaiming_normal_(self.weights, nonlinearity="relu")

    def load(self, values: LayerWeights) -> None:
        copy_into(self.weights, values.weights.reshape(self.weights.shape))
        if self.normalize is not None:
            self.normalize.load(values)
        else:
            copy_into(self.biases, values.biases)

    def store(self) -> LayerWeights:
        weights = array_of(self.weights).reshape(self.stored_shape)
        if self.normalize is not None:
            return replace(self.normalize.store(), weights=weights, winograd=self.winograd)
        assert self.biases is not None
        return LayerWeights(weights=weights, biases=array_of(self.biases), winograd=self.winograd)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The axes of the weights, as files and kernels have them."""
        return tuple(self.weights.shape)

    def coded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(input, weights) as they are multiplied."""
        weights = round_weights(self.weights) if self.rounds_weights else self.weights
        return (x if self.input_scale is None else round_input(x, scale=self.input_scale)), weights

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix that units are cut from: `[out, K]`."""
        return len(self.weights), self.weights[0].numel()

    def finish(self, x: Tensor) -> Tensor:
        return activate(self.activation, x if self.normalize is None else self.normalize(x), in_place=True)


class OwnWeights(ValueModule):
    """A layer whose only values are its weights, as a file has them."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.weights = nn.Parameter(torch.ones(layer.arrays["weights"]))

    def load(self, values: LayerWeights) -> None:
        copy_into(self.weights, values.weights.reshape(self.weights.shape))

    def store(self) -> LayerWeights:
        return LayerWeights(weights=array_of(self.weights))


def copy_into(target: Tensor | None, values: NDArray[np.float32]) -> None:
    assert target is not None
    target.copy_(torch.from_numpy(np.array(values, np.float32)))


def array_of(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().contiguous().cpu().numpy(), np.float32, order="C")
