"""The right answer of a chain, in float64 NumPy, with no device and none of the kernels that are compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clprune.winograd.transforms import winograd_convolution
from tools.bench.chain import (
    LEAKY_SLOPE,
    AveragePoolLink,
    Chain,
    ConnectedLink,
    ConvolutionLink,
    Link,
    MaxPoolLink,
)

Images = npt.NDArray[np.float64]


def chain_answer(chain: Chain, x: npt.NDArray[np.float32]) -> Images:
    """Images `[N, C, H, W]` to `[N, outputs]`, one image at a time to spare memory."""
    answers = []
    for image in x:
        values = image[None].astype(np.float64)
        for link in chain.links:
            values = _apply(link, values)
        answers.append(values.reshape(-1))
    return np.stack(answers)


def _apply(link: Link, x: Images) -> Images:
    if isinstance(link, ConvolutionLink):
        return _activated(_convolve(link, x), link.activation)
    if isinstance(link, ConnectedLink):
        return _activated(x.reshape(len(x), -1) @ link.weights.astype(np.float64).T + link.bias, link.activation)
    if isinstance(link, MaxPoolLink):
        border = ((0, 0), (0, 0), (link.before, link.below), (link.before, link.right))
        padded = np.pad(x, border, constant_values=-np.inf)
        highest: Images = _windows(padded, link.size, link.stride).max(axis=(4, 5))
        return highest
    if isinstance(link, AveragePoolLink):
        mean: Images = x.mean(axis=(2, 3), keepdims=True)
        return mean
    flat = x.reshape(len(x), -1)
    powers = np.exp(flat - flat.max(axis=1, keepdims=True))
    probabilities: Images = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _convolve(link: ConvolutionLink, x: Images) -> Images:
    if link.winograd is not None:
        planes = winograd_convolution(x, link.weights, output_tile=link.winograd, padding=link.padding)
        return planes + link.bias.astype(np.float64).reshape(-1, 1, 1)
    out_channels, group_channels, size, _ = link.weights.shape
    pad = (link.padding, link.padding)
    windows = _windows(np.pad(x, ((0, 0), (0, 0), pad, pad)), size, link.stride)
    rows = out_channels // link.groups
    parts = []
    for group in range(link.groups):
        # [C, H, W, size, size] to columns [C * size * size, H * W] of the GEMM view
        taken = windows[0, group * group_channels : (group + 1) * group_channels]
        columns = taken.transpose(0, 3, 4, 1, 2).reshape(group_channels * size * size, -1)
        matrix = link.weights[group * rows : (group + 1) * rows].reshape(rows, -1).astype(np.float64)
        parts.append(matrix @ columns)
    planes = np.concatenate(parts) + link.bias.astype(np.float64)[:, None]
    return planes.reshape(1, out_channels, *windows.shape[2:4])


def _windows(x: Images, size: int, stride: int) -> Images:
    """`[N, C, rows, columns, size, size]`, a view."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


def _activated(x: Images, activation: str) -> Images:
    if activation == "relu":
        return np.maximum(x, 0)
    return np.where(x > 0, x, LEAKY_SLOPE * x) if activation == "leaky" else x
