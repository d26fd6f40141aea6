"""Windows that move over planes, by torch: their border, convolutions with them, and darknet's antialiasing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from clprune.darknet.kinds.windowed import WindowedLayer
from clprune.geometry import Window


def convolve(x: Tensor, weights: Tensor, window: Window, *, biases: Tensor | None = None, groups: int = 1) -> Tensor:
    padding = (window.top, window.left)
    if padding != (window.bottom, window.right):
        x, padding = bordered(x, window, 0.0), (0, 0)
    strides, dilations = (window.stride_y, window.stride_x), (window.dilation_y, window.dilation_x)
    return functional.conv2d(x, weights, biases, strides, padding, dilations, groups)


def bordered(x: Tensor, window: Window, value: float) -> Tensor:
    """x with the window's border of `value` around each image."""
    border = (window.left, window.right, window.top, window.bottom)
    return functional.pad(x, border, value=value) if any(border) else x


def blurred(layer: WindowedLayer, x: Tensor) -> Tensor:
    """What the layer's `antialiasing` makes of its own output."""
    if layer.blur is None:
        return x
    sides = (x.shape[1], 1, layer.blur.size_y, layer.blur.size_x)
    filters = x.new_tensor(layer.blur_weights).view(1, *sides[1:]).expand(sides)
    return convolve(x, filters, layer.blur, groups=x.shape[1])
