"""One torch module per kind of darknet layer, with darknet's semantics.

Every module takes the outputs of the layer's sources, `[batch, channels, height, width]`, and returns the layer's own
output in the same form; a vector of n values is `[batch, n, 1, 1]`. Parameters keep the names and order of darknet's
weights file: `biases` beside `weights`, or `scales`, `mean` and `variance` with batch normalization.
"""

from __future__ import annotations

import functools
from typing import cast

from torch import nn

from clprune.darknet.kinds import connected, convolutional, functions, joins, normalization
from clprune.darknet.kinds.base import Layer
from clprune.training.plain_layers import COMPUTED, Dropout, Function, add_up
from clprune.training.values import Normalize
from clprune.training.weighted_layers import (
    Connected,
    Convolution,
    GroupNorm,
    Implicit,
    LocalConvolution,
    WeightedShortcut,
)


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


@make_layer.register
def _(layer: joins.Shortcut) -> nn.Module:
    return WeightedShortcut(layer) if layer.arrays else Function(layer, add_up)


for _kind, _function in COMPUTED.items():
    make_layer.register(_kind, functools.partial(Function, function=_function))
