"""Layers without values of their own, as functions of what their sources deliver, and dropout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clprune.darknet.kinds import functions, heads, joins, normalization, planes, pools
from clprune.darknet.kinds.base import Layer
from clprune.training.activations import activate
from clprune.training.windows import blurred, bordered, convolve

Computed = Callable[..., Tensor]

#: The function that computes layers of a kind: of the layer and what its sources deliver.
COMPUTED: dict[type[Layer], Computed] = {}


def computes(kind: type[Layer]) -> Callable[[Computed], Computed]:
    """Decorates the function that computes layers of a kind."""

    def register(function: Computed) -> Computed:
        COMPUTED[kind] = function
        return function

    return register


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


@computes(pools.MaxPool)
def _max_pool(layer: pools.MaxPool, x: Tensor) -> Tensor:
    if layer.depth_channels:
        parts = [x[:, channel :: layer.depth_channels].amax(1) for channel in range(layer.depth_channels)]
        return torch.stack(parts, 1)
    window = layer.own_window
    x = bordered(x, window, float("-inf"))  # places outside the image never win
    strides, dilations = (window.stride_y, window.stride_x), (window.dilation_y, window.dilation_x)
    y = functional.max_pool2d(x, (window.size_y, window.size_x), strides, dilation=dilations)
    return blurred(layer, y)


@computes(pools.LocalAvgPool)
def _window_average(layer: pools.LocalAvgPool, x: Tensor) -> Tensor:
    window = layer.own_window

    def mean(values: Tensor) -> Tensor:
        channels = values.shape[1]
        filters = values.new_full((channels, 1, window.size_y, window.size_x), 1 / window.places)
        return convolve(values, filters, window, groups=channels)

    y = mean(x) if layer.count_border else mean(x) / mean(torch.ones_like(x[:1, :1]))
    return blurred(layer, y)


@computes(normalization.Normalization)
def _normalization(layer: normalization.Normalization, x: Tensor) -> Tensor:
    squares, before, after = x * x, (layer.size - 1) // 2, layer.size // 2
    sums = functional.pad(squares.cumsum(1), (0, 0, 0, 0, before + 1, after), value=0)
    sums[:, before + 1 + x.shape[1] :] = sums[:, before + x.shape[1], None]
    sums = sums[:, layer.size :] - sums[:, : -layer.size]
    if not layer.full:  # darknet's running sum begins without channel `after` and carries that on
        sums = sums - squares[:, after : after + 1].sum(1, keepdim=True)
    return x * (layer.kappa + layer.alpha * sums) ** -layer.beta


@computes(pools.AvgPool)
def _average_pool(layer: pools.AvgPool, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


@computes(joins.Route)
def _route(layer: joins.Route, *sources: Tensor) -> Tensor:
    parts = [source.chunk(layer.groups, 1)[layer.group_id] for source in sources]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def add_up(layer: joins.Shortcut, previous: Tensor, *others: Tensor) -> Tensor:
    """What a shortcut makes of its sources."""
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


@computes(joins.Product)
def _product(layer: joins.Product, previous: Tensor, other: Tensor) -> Tensor:
    return activate(layer.activation, previous * other)


@computes(planes.Pad)
def _pad(layer: planes.Pad, x: Tensor) -> Tensor:
    x = functional.pad(x, [min(side, 0) for side in (layer.left, layer.right, layer.top, layer.bottom)])
    border = [max(side, 0) for side in (layer.left, layer.right, layer.top, layer.bottom)]
    modes = {"zeros": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return functional.pad(x, border, mode=modes[layer.mode])


@computes(planes.Reorg)
def _reorg(layer: planes.Reorg, x: Tensor) -> Tensor:
    # index -1 stands for a zero, which is put behind the last value
    values = functional.pad(x.contiguous().flatten(1), (0, 1))
    indices = torch.from_numpy(layer.order.indices).to(x.device)
    return values[:, indices].view(len(x), *layer.output.dimensions)


@computes(functions.L2Norm)
def _l2norm(layer: functions.L2Norm, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1)


@computes(planes.Upsample)
def _upsample(layer: planes.Upsample, x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=float(layer.stride), mode="nearest") * layer.scale


@computes(planes.Resize)
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


@computes(planes.Crop)
def _crop(layer: planes.Crop, x: Tensor) -> Tensor:
    top, left = (layer.input.height - layer.crop_height) // 2, (layer.input.width - layer.crop_width) // 2
    x = x[:, :, top : top + layer.crop_height, left : left + layer.crop_width]
    return x if layer.noadjust else 2 * x - 1


@computes(functions.Softmax)
def _softmax(layer: functions.Softmax, x: Tensor) -> Tensor:
    x = x.contiguous() / layer.temperature
    if layer.spatial:
        return functional.softmax(x, 1)
    if layer.tree is not None:
        return _by_run(x, heads.runs_of([(size, "softmax", 1.0) for size in layer.tree.group_sizes]))
    return functional.softmax(x.view(len(x), layer.groups, -1), 2).view(x.shape)


@computes(heads.Head)
def _head(layer: heads.Head, x: Tensor) -> Tensor:
    return x if layer.is_identity else _by_run(x, layer.runs)


def _by_run(x: Tensor, runs: Sequence[heads.ChannelRun]) -> Tensor:
    """Another function for each run of channels."""
    parts = []
    for run, part in zip(runs, torch.split(x, [run.count for run in runs], 1), strict=True):
        y = functional.softmax(part, 1) if run.function == "softmax" else activate(run.function, part)
        parts.append(y if run.scale == 1 else run.scale * y - (run.scale - 1) / 2)
    return torch.cat(parts, 1)


@computes(functions.Activation)
def _activation(layer: functions.Activation, x: Tensor) -> Tensor:
    return activate(layer.activation, x)
