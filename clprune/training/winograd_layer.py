"""A convolution whose parameter lives in the Winograd domain: U itself, not a 3x3 kernel.

    Y = A^T [ sum over channels of U_xi (B^T d B)_xi ] A        (Lavin & Gray, arXiv 1509.09308, section 4)

A masked U is no kernel's transform, so it is retrained where it was pruned, with gradients through both transforms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clprune.darknet.kinds.convolutional import Convolutional
from clprune.pruning.winograd import sensitivities
from clprune.training.values import Weighted
from clprune.winograd.transforms import transform_filters, transform_matrices

#: Output tiles whose transforms have factors of 1 alone, which bfloat16 has exactly.
REDUCED_TILES = (2,)


class WinogradConvolution(Weighted):
    """`[convolutional]` of 3x3 and stride 1 with weights U `[alpha^2, out, in]` of F(m x m, 3 x 3), `winograd` m.

    Matrices of U move the output by very different amounts (`clprune.pruning.winograd.sensitivities`): under one
    learning rate the most sensitive ones diverge long before the others learn, which is why related work trains here
    with a very small one. Each matrix's gradient is therefore divided by the square of its sensitivity, as if the
    parameter were U times it: descent is then as fast in every matrix. Our choice; AdamW, which divides by the size of
    gradients itself, is indifferent to it. Tiles of 2 are computed in the precision around them, larger ones in
    float32, because their transforms lose digits.
    """

    winograd: int

    def __init__(self, layer: Convolutional, *, winograd: int) -> None:
        super().__init__(layer)
        self.winograd = winograd
        self.padding = layer.window.top
        transforms = transform_matrices(winograd)
        kernels = self.weights.detach().numpy()
        u = transform_filters(kernels, winograd).reshape(transforms.matrices, *kernels.shape[:2])
        # three axes, not [alpha, alpha, out, in]: torch takes a parameter with four for images when it reorders them
        self.weights = nn.Parameter(torch.from_numpy(u.astype(np.float32)))
        sides = {"input_transform": transforms.input_array, "output_transform": transforms.output_array}
        self.input_transform: Tensor
        self.output_transform: Tensor
        self.gradient_factors: Tensor
        for name, side in sides.items():
            # rows of a tile, then its columns: both at once are one matrix product with the Kronecker square
            self._constant(name, np.kron(side, side))
        self._constant("gradient_factors", sensitivities(winograd).reshape(-1, 1, 1) ** -2)

    @property
    def stored_shape(self) -> tuple[int, int, int, int]:
        """`[alpha, alpha, out, in]`, as files and kernels have it."""
        alpha = transform_matrices(self.winograd).input_tile
        return (alpha, alpha, self.weights.shape[1], self.weights.shape[2])

    @property
    def mask_shape(self) -> tuple[int, int]:
        return (self.weights.shape[0] * self.weights.shape[1], self.weights.shape[2])

    def forward(self, x: Tensor) -> Tensor:
        dtype = self._dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            u = _scale_gradient(self.weights, self.gradient_factors)
            y = winograd_conv2d(
                x.to(dtype),
                u.to(dtype),
                input_transform=self.input_transform.to(dtype),
                output_transform=self.output_transform.to(dtype),
                padding=self.padding,
            )
            if self.biases is not None:
                y = y + self.biases[:, None, None]
        return self.finish(y)

    def _dtype(self, device_type: str) -> torch.dtype:
        """That of transforms and products."""
        is_reduced = self.winograd in REDUCED_TILES and torch.is_autocast_enabled(device_type)
        return torch.get_autocast_dtype(device_type) if is_reduced else torch.float32

    def _constant(self, name: str, values: Any) -> None:
        self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)


def winograd_conv2d(x: Tensor, u: Tensor, *, input_transform: Tensor, output_transform: Tensor, padding: int) -> Tensor:
    """The convolution of stride 1 of x `[batch, in, height, width]` with U `[alpha^2, out, in]`: `[batch, out, ...]`.

    `input_transform` is the Kronecker square of B^T, `[alpha^2, alpha^2]`, `output_transform` that of A^T,
    `[m^2, alpha^2]`; all of one type, which the result has. Inside, places come before images and channels, so that
    what tiles share are long pieces of memory; the result is in channels-last memory. Any shape; differentiable in x
    and u.
    """
    tile, alpha = round(len(output_transform) ** 0.5), round(len(input_transform) ** 0.5)
    (batch, channels, height, width), outputs = x.shape, u.shape[1]
    out_height, out_width = height + 2 * padding - alpha + tile, width + 2 * padding - alpha + tile
    down, across = -(-out_height // tile), -(-out_width // tile)
    v = input_transform @ input_tiles(x, tile=tile, padding=padding)
    products = torch.bmm(v.view(len(v), -1, channels), u.transpose(1, 2))
    y = output_transform @ products.view(len(products), -1)
    y = y.view(tile, tile, down, across, batch, outputs).permute(4, 2, 0, 3, 1, 5)
    y = y.reshape(batch, down * tile, across * tile, outputs)[:, :out_height, :out_width]
    return y.permute(0, 3, 1, 2)


def input_tiles(x: Tensor, *, tile: int, padding: int) -> Tensor:
    """The tiles d of x `[batch, channels, height, width]`: `[alpha^2, places * batch * channels]`, alpha = m + 2."""
    (batch, channels, height, width), alpha = x.shape, tile + 2
    down, across = (-(-(side + 2 * padding - alpha + tile) // tile) for side in (height, width))
    right, bottom = ((count + 1) * tile - size - padding for count, size in ((across, width), (down, height)))
    places = x.permute(2, 3, 0, 1).reshape(height, width, batch * channels)
    padded = functional.pad(places, (0, 0, padding, right, padding, bottom))
    tiles: Tensor = _Tiles.apply(padded, tile, alpha)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return tiles.view(alpha**2, -1)


def _scale_gradient(values: Tensor, factors: Tensor) -> Tensor:
    """`values`, whose gradient is multiplied by `factors`."""
    scaled: Tensor = _ScaledGradient.apply(values, factors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return scaled


class _Tiles(torch.autograd.Function):
    """Overlapping tiles `[alpha, alpha, down, across, values]` of places `[(down + 1) * m, (across + 1) * m, values]`.

    A tile of alpha = m + 2 places is m places of one block and 2 of the next: in both directions that makes four
    pieces, which are copied, and whose gradients are added up. torch's own for `unfold` works value by value.
    """

    @staticmethod
    def forward(context: Any, places: Tensor, tile: int, alpha: int) -> Tensor:
        context.geometry = (places.shape, tile, alpha)
        down, across = places.shape[0] // tile - 1, places.shape[1] // tile - 1
        tiles = places.new_empty(alpha, alpha, down, across, places.shape[2])
        for of_tiles, of_places in _pieces(tiles, places, tile):
            of_tiles.copy_(of_places)
        return tiles

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        shape, tile, _ = context.geometry
        places = gradient.new_zeros(shape)
        for of_tiles, of_places in _pieces(gradient, places, tile):
            of_places.add_(of_tiles)
        return places, None, None


def _pieces(tiles: Tensor, places: Tensor, tile: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of the same values in tiles and in places, all tiles at once."""
    alpha, _, down, across, values = tiles.shape
    by_block = places.view(down + 1, tile, across + 1, tile, values).permute(1, 3, 0, 2, 4)
    parts = ((slice(0, tile), slice(0, tile)), (slice(tile, alpha), slice(0, alpha - tile)))
    for row, (tile_rows, block_rows) in enumerate(parts):
        for column, (tile_columns, block_columns) in enumerate(parts):
            blocks = by_block[block_rows, block_columns, row : row + down, column : column + across]
            yield tiles[tile_rows, tile_columns], blocks


class _ScaledGradient(torch.autograd.Function):
    """The identity; gradients are multiplied by `factors` on their way back."""

    @staticmethod
    def forward(context: Any, values: Tensor, factors: Tensor) -> Tensor:
        context.save_for_backward(factors)
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factors,) = context.saved_tensors
        return gradients[0] * factors, None
