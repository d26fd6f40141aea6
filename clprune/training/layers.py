"""One torch module per kind of darknet layer, with darknet's semantics.

Every module takes the outputs of the layer's sources, `[batch, channels, height, width]`, and returns the layer's own
output in the same form; a vector of n values is `[batch, n, 1, 1]`. Parameters keep the names and order of darknet's
weights file: `biases` beside `weights`, or `scales`, `mean` and `variance` with batch normalization.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from clprune.darknet.fold import BATCH_NORM_EPSILON, SHORTCUT_EPSILON
from clprune.darknet.kinds import connected, convolutional, functions, heads, joins, normalization, planes, pools
from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.kinds.windowed import WindowedLayer
from clprune.darknet.values import LayerWeights
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import Window
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
            _copy(getattr(self, name), getattr(values, name))

    def store(self) -> LayerWeights:
        return LayerWeights(
            biases=_array(self.biases),
            scales=_array(self.scales),
            mean=_array(self.mean),
            variance=_array(self.variance),
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
        _copy(self.weights, values.weights.reshape(self.weights.shape))
        if self.normalize is not None:
            self.normalize.load(values)
        else:
            _copy(self.biases, values.biases)

    def store(self) -> LayerWeights:
        weights = _array(self.weights).reshape(self.stored_shape)
        if self.normalize is not None:
            return replace(self.normalize.store(), weights=weights, winograd=self.winograd)
        assert self.biases is not None
        return LayerWeights(weights=weights, biases=_array(self.biases), winograd=self.winograd)

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


class Convolution(Weighted):
    """`[convolutional]`."""

    def __init__(self, layer: convolutional.Convolutional) -> None:
        if layer.shares is not None:
            message = "has the weights of another layer: expected weights of its own for PyTorch"
            raise UnsupportedLayerError(f"{layer} (line {layer.line}) {message}")
        super().__init__(layer)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        x, weights = self.coded(x)
        if self.layer.is_binary:
            weights = _signs(weights, weights.abs().mean((1, 2, 3), keepdim=True))
        window = self.layer.own_window
        if self.layer.xnor:
            x = _signs(x, torch.ones_like(x))
        if self.layer.has_bit_border:
            x, window = bordered(x, window, -1.0), window.inner
        y = _convolve(x, weights, window, biases=self.biases, groups=self.layer.groups)
        return _blurred(self.layer, self.finish(y))


def _signs(values: Tensor, magnitudes: Tensor) -> Tensor:
    """`magnitudes` with the signs of `values`, that of 0 negative; the gradient is the identity's."""
    return values + (torch.where(values > 0, magnitudes, -magnitudes) - values).detach()


class LocalConvolution(ValueModule):
    """`[local]`: other filters at every place."""

    def __init__(self, layer: convolutional.Local) -> None:
        super().__init__()
        self.layer = layer
        self.weights = nn.Parameter(torch.empty(layer.weights_shape))
        nn.init.normal_(self.weights, std=math.sqrt(2 / layer.columns))
        self.biases = nn.Parameter(torch.zeros(layer.output.elements))

    def forward(self, x: Tensor) -> Tensor:
        window, output = self.layer.window, self.layer.output
        sides = (window.size_y, window.size_x)
        columns = functional.unfold(bordered(x, window, 0.0), sides, stride=(window.stride_y, window.stride_x))
        y = torch.einsum("nkp,pmk->nmp", columns, self.weights.flatten(2))
        y = y.reshape(-1, output.channels, output.height, output.width)
        return activate(self.layer.activation, y + self.biases.view(y.shape[1:]))

    def load(self, values: LayerWeights) -> None:
        _copy(self.weights, values.weights.reshape(self.weights.shape))
        _copy(self.biases, values.biases)

    def store(self) -> LayerWeights:
        return LayerWeights(weights=_array(self.weights), biases=_array(self.biases))


class Connected(Weighted):
    """`[connected]`: the input is flattened in CHW order."""

    def initialize(self) -> None:
        # torch.nn.Linear's own: He's would give logits that, before anything is learned, are confidently wrong
        nn.init.kaiming_uniform_(self.weights, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        # contiguous() first: flattening a channels-last tensor in place would be HWC order
        x, weights = self.coded(x.contiguous().flatten(1))
        return self.finish(functional.linear(x, weights, self.biases)[:, :, None, None])


class OwnWeights(ValueModule):
    """A layer whose only values are its weights, as a file has them."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.weights = nn.Parameter(torch.ones(layer.arrays["weights"]))

    def load(self, values: LayerWeights) -> None:
        _copy(self.weights, values.weights.reshape(self.weights.shape))

    def store(self) -> LayerWeights:
        return LayerWeights(weights=_array(self.weights))


class Implicit(OwnWeights):
    """`[implicit]`: the same values for every image of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weights.expand(len(x), *self.weights.shape)


class GroupNorm(OwnWeights):
    """`[groupnorm]`."""

    layer: normalization.GroupNorm

    def __init__(self, layer: normalization.GroupNorm) -> None:
        super().__init__(layer)
        self.biases = nn.Parameter(torch.zeros(layer.input.channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.group_norm(x, self.layer.groups, self.weights, self.biases, self.layer.epsilon)

    def load(self, values: LayerWeights) -> None:
        super().load(values)
        _copy(self.biases, values.biases)

    def store(self) -> LayerWeights:
        return replace(super().store(), biases=_array(self.biases))


class WeightedShortcut(OwnWeights):
    """`[shortcut]` whose summands have weights."""

    layer: joins.Shortcut

    def forward(self, *summands: Tensor) -> Tensor:
        weights = self.weights.view(len(summands), -1)
        if self.layer.weights_normalization == "relu":
            weights = weights.relu()
        elif self.layer.weights_normalization == "softmax":
            weights = (weights - weights.amax(0)).exp()
        if self.layer.weights_normalization != "none":
            weights = weights / (SHORTCUT_EPSILON + weights.sum(0))
        channels = summands[0].shape[1]
        scales = weights.expand(-1, channels)[:, :, None, None]
        parts = [x[:, :channels] * scale[: x.shape[1]] for x, scale in zip(summands, scales, strict=True)]
        return _shortcut(self.layer, *parts)


class Dropout(nn.Module):
    """`[dropout]`: single values while training, scaled so that inference needs nothing.

    `strength` (0 to 1) multiplies the cfg's probability.
    """

    def __init__(self, layer: functions.Dropout) -> None:
        super().__init__()
        self.probability = layer.probability
        self.strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.probability * self.strength, self.training)


class Function(nn.Module):
    """A layer without values of its own: a function of it and of what its sources deliver."""

    def __init__(self, layer: Layer, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.function = function

    def forward(self, *sources: Tensor) -> Tensor:
        return self.function(self.layer, *sources)


def _convolve(x: Tensor, weights: Tensor, window: Window, *, biases: Tensor | None = None, groups: int = 1) -> Tensor:
    padding = (window.top, window.left)
    if padding != (window.bottom, window.right):
        x, padding = bordered(x, window, 0.0), (0, 0)
    strides, dilations = (window.stride_y, window.stride_x), (window.dilation_y, window.dilation_x)
    return functional.conv2d(x, weights, biases, strides, padding, dilations, groups)


def bordered(x: Tensor, window: Window, value: float) -> Tensor:
    """x with the window's border of `value` around each image."""
    border = (window.left, window.right, window.top, window.bottom)
    return functional.pad(x, border, value=value) if any(border) else x


def _blurred(layer: WindowedLayer, x: Tensor) -> Tensor:
    """What the layer's `antialiasing` makes of its own output."""
    if layer.blur is None:
        return x
    sides = (x.shape[1], 1, layer.blur.size_y, layer.blur.size_x)
    filters = x.new_tensor(layer.blur_weights).view(1, *sides[1:]).expand(sides)
    return _convolve(x, filters, layer.blur, groups=x.shape[1])


@functools.singledispatch
def make_layer(layer: Layer) -> nn.Module:
    """The torch module of a darknet layer. Raises UnsupportedLayerError for kinds that cannot be trained here."""
    return cast(nn.Module, layer.torch_module())


make_layer.register(convolutional.Convolutional, Convolution)
make_layer.register(convolutional.Local, LocalConvolution)
make_layer.register(connected.Connected, Connected)
make_layer.register(normalization.BatchNorm, lambda layer: Normalize(layer.input.channels))
make_layer.register(normalization.GroupNorm, GroupNorm)
make_layer.register(functions.Implicit, Implicit)
make_layer.register(functions.Dropout, Dropout)
make_layer.register(functions.Cost, lambda layer: nn.Identity())
make_layer.register(functions.Empty, lambda layer: nn.Identity())
make_layer.register(functions.Output, lambda layer: nn.Identity())


def _computes(kind: type[Layer]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorates the function that computes layers of a kind."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        make_layer.register(kind, lambda layer: Function(layer, function))
        return function

    return register


@_computes(pools.MaxPool)
def _max_pool(layer: pools.MaxPool, x: Tensor) -> Tensor:
    if layer.depth_channels:
        parts = [x[:, channel :: layer.depth_channels].amax(1) for channel in range(layer.depth_channels)]
        return torch.stack(parts, 1)
    window = layer.own_window
    x = bordered(x, window, float("-inf"))  # places outside the image never win
    strides, dilations = (window.stride_y, window.stride_x), (window.dilation_y, window.dilation_x)
    y = functional.max_pool2d(x, (window.size_y, window.size_x), strides, dilation=dilations)
    return _blurred(layer, y)


@_computes(pools.LocalAvgPool)
def _window_average(layer: pools.LocalAvgPool, x: Tensor) -> Tensor:
    window = layer.own_window

    def mean(values: Tensor) -> Tensor:
        channels = values.shape[1]
        filters = values.new_full((channels, 1, window.size_y, window.size_x), 1 / window.places)
        return _convolve(values, filters, window, groups=channels)

    y = mean(x) if layer.count_border else mean(x) / mean(torch.ones_like(x[:1, :1]))
    return _blurred(layer, y)


@_computes(normalization.Normalization)
def _normalization(layer: normalization.Normalization, x: Tensor) -> Tensor:
    squares, before, after = x * x, (layer.size - 1) // 2, layer.size // 2
    sums = functional.pad(squares.cumsum(1), (0, 0, 0, 0, before + 1, after), value=0)
    sums[:, before + 1 + x.shape[1] :] = sums[:, before + x.shape[1], None]
    sums = sums[:, layer.size :] - sums[:, : -layer.size]
    if not layer.full:  # darknet's running sum begins without channel `after` and carries that on
        sums = sums - squares[:, after : after + 1].sum(1, keepdim=True)
    return x * (layer.kappa + layer.alpha * sums) ** -layer.beta


@_computes(pools.AvgPool)
def _average_pool(layer: pools.AvgPool, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


@_computes(joins.Route)
def _route(layer: joins.Route, *sources: Tensor) -> Tensor:
    parts = [source.chunk(layer.groups, 1)[layer.group_id] for source in sources]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


@make_layer.register
def _(layer: joins.Shortcut) -> nn.Module:
    return WeightedShortcut(layer) if layer.arrays else Function(layer, _shortcut)


def _shortcut(layer: joins.Shortcut, previous: Tensor, *others: Tensor) -> Tensor:
    return activate(layer.activation, functools.reduce(functools.partial(_add, layer), others, previous))


def _add(layer: joins.Shortcut, previous: Tensor, other: Tensor) -> Tensor:
    if previous.shape == other.shape:
        return layer.alpha * previous + layer.beta * other
    channels = min(previous.shape[1], other.shape[1])
    other_step = max(other.shape[3] // previous.shape[3], 1)
    previous_step = max(previous.shape[3] // other.shape[3], 1)
    height = min(previous.shape[2], other.shape[2])
    width = min(previous.shape[3], other.shape[3])
    added = other[:, :channels, ::other_step, ::other_step][:, :, :height, :width]
    result = previous.clone()
    place = result[:, :channels, ::previous_step, ::previous_step][:, :, :height, :width]
    # the view writes into `result`: darknet leaves every other value of `previous` as it is
    place.copy_(layer.alpha * place.clone() + layer.beta * added)
    return result


@_computes(joins.Product)
def _product(layer: joins.Product, previous: Tensor, other: Tensor) -> Tensor:
    return activate(layer.activation, previous * other)


@_computes(planes.Pad)
def _pad(layer: planes.Pad, x: Tensor) -> Tensor:
    x = functional.pad(x, [min(side, 0) for side in (layer.left, layer.right, layer.top, layer.bottom)])
    border = [max(side, 0) for side in (layer.left, layer.right, layer.top, layer.bottom)]
    modes = {"zeros": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return functional.pad(x, border, mode=modes[layer.mode])


@_computes(planes.Reorg)
def _reorg(layer: planes.Reorg, x: Tensor) -> Tensor:
    # index -1 stands for a zero, which is put behind the last value
    values = functional.pad(x.contiguous().flatten(1), (0, 1))
    indices = torch.from_numpy(layer.order.indices).to(x.device)
    return values[:, indices].view(len(x), *layer.output.dimensions)


@_computes(functions.L2Norm)
def _l2norm(layer: functions.L2Norm, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1)


@_computes(planes.Upsample)
def _upsample(layer: planes.Upsample, x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=float(layer.stride), mode="nearest") * layer.scale


@_computes(planes.Resize)
def _resize(layer: planes.Resize, x: Tensor) -> Tensor:
    """By torch's own where it is the same, which tracing knows; else as sums over rows, then columns."""
    ways: dict[tuple[str, ...], dict[str, Any]] = {
        ("linear", "half_pixel"): {"mode": "bilinear", "align_corners": False},
        ("linear", "align_corners"): {"mode": "bilinear", "align_corners": True},
        ("cubic", "half_pixel"): {"mode": "bicubic", "align_corners": False},
        ("cubic", "align_corners"): {"mode": "bicubic", "align_corners": True},
        ("nearest", "asymmetric", "floor"): {"mode": "nearest"},
        ("nearest", "half_pixel", "round_prefer_ceil"): {"mode": "nearest-exact"},
    }
    key = (layer.mode, layer.coordinates, *([layer.rounding] if layer.mode == "nearest" else []))
    has_own_scales = layer.scale_y or layer.scale_x
    if key in ways and not has_own_scales and (layer.mode != "cubic" or layer.cubic == -0.75):
        return functional.interpolate(x, size=(layer.height, layer.width), **ways[key])
    tables = [(side.sources, side.shares) for side in (layer.rows, layer.columns)]
    (rows, row_shares), (columns, column_shares) = ([torch.from_numpy(a).to(x.device) for a in pair] for pair in tables)
    x = (x[:, :, rows] * row_shares[:, :, None]).sum(3)
    return (x[..., columns] * column_shares).sum(4)


@_computes(planes.Crop)
def _crop(layer: planes.Crop, x: Tensor) -> Tensor:
    top, left = (layer.input.height - layer.crop_height) // 2, (layer.input.width - layer.crop_width) // 2
    x = x[:, :, top : top + layer.crop_height, left : left + layer.crop_width]
    return x if layer.noadjust else 2 * x - 1


@_computes(functions.Softmax)
def _softmax(layer: functions.Softmax, x: Tensor) -> Tensor:
    x = x.contiguous() / layer.temperature
    if layer.spatial:
        return functional.softmax(x, 1)
    if layer.tree is not None:
        return _by_run(x, heads.runs_of([(size, "softmax", 1.0) for size in layer.tree.group_sizes]))
    return functional.softmax(x.view(len(x), layer.groups, -1), 2).view(x.shape)


@_computes(heads.Head)
def _head(layer: heads.Head, x: Tensor) -> Tensor:
    return x if layer.is_identity else _by_run(x, layer.runs)


def _by_run(x: Tensor, runs: Sequence[heads.ChannelRun]) -> Tensor:
    """Another function for each run of channels."""
    parts = []
    for run, part in zip(runs, torch.split(x, [run.count for run in runs], 1), strict=True):
        y = functional.softmax(part, 1) if run.function == "softmax" else activate(run.function, part)
        parts.append(y if run.scale == 1 else run.scale * y - (run.scale - 1) / 2)
    return torch.cat(parts, 1)


@_computes(functions.Activation)
def _activation(layer: functions.Activation, x: Tensor) -> Tensor:
    return activate(layer.activation, x)


def _copy(target: Tensor | None, values: NDArray[np.float32]) -> None:
    assert target is not None
    target.copy_(torch.from_numpy(np.array(values, np.float32)))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().contiguous().cpu().numpy(), np.float32, order="C")
