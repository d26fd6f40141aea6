"""What layers are fitted by: sums over places of images of all that the rows of a layer are multiplied by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.training.windows import bordered
from clprune.training.winograd_layer import input_tiles
from clprune.winograd.transforms import transform_matrices

#: Places of images by which a layer is fitted: at least so many, and so many for each column.
SAMPLES, SAMPLES_PER_COLUMN = 8_192, 4

Batches = list[Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums over samples of inputs x and dense inputs d, of which x x^T and d x^T are taken about the means."""

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    mean: NDArray[np.float64]
    dense_mean: NDArray[np.float64]

    def without(self, gone: NDArray[np.bool_]) -> Sums:
        """Those of the same inputs but for columns that are zero now."""
        kept = (~gone).astype(np.float64)
        return replace(self, gram=self.gram * np.outer(kept, kept), cross=self.cross * kept, mean=self.mean * kept)


def sums_of(layer: MatrixLayer, winograd: int | None, inputs: Batches, dense: Batches) -> Sums:
    """Of `inputs` of a layer, and of the `dense` network's for the same images."""
    images, columns = sum(map(len, inputs)), layer.matrix_shape(None)[1]
    wanted = -(-max(SAMPLES, SAMPLES_PER_COLUMN * columns) // images)
    count = 0
    gram, cross, mean, dense_mean = (np.zeros(()) for _ in range(4))
    for found, expected in zip(inputs, dense, strict=True):
        x = _columns(layer, winograd, found, wanted)
        d = x if inputs is dense else _columns(layer, winograd, expected, wanted)
        gram = gram + (x @ x.T).double().numpy()
        if d is not x:
            cross = cross + (d @ x.T).double().numpy()
        mean, dense_mean = mean + x.double().sum(1).numpy(), dense_mean + d.double().sum(1).numpy()
        count += x.shape[1]
    mean, dense_mean = mean / count, dense_mean / count
    gram = gram - count * np.outer(mean, mean)
    cross = gram if inputs is dense else cross - count * np.outer(dense_mean, mean)
    return Sums(gram=gram, cross=cross, mean=mean, dense_mean=dense_mean)


def _columns(layer: MatrixLayer, winograd: int | None, x: Tensor, wanted: int) -> Tensor:
    """What each row of the layer is multiplied by, `[K, samples]`: `wanted` places of each image, all where it has
    fewer.
    """
    if not isinstance(layer, Convolutional):
        return x.contiguous().flatten(1).T
    if winograd is None:
        # only the places that were drawn are taken: unfolding whole images would cost many times as much
        window = layer.own_window
        padded = bordered(x, window, 0.0)
        reach_y, reach_x = window.dilation_y * (window.size_y - 1), window.dilation_x * (window.size_x - 1)
        down = (padded.shape[2] - reach_y - 1) // window.stride_y + 1
        across = (padded.shape[3] - reach_x - 1) // window.stride_x + 1
        drawn, width = _places(down * across, wanted), padded.shape[3]
        corners = drawn // across * window.stride_y * width + drawn % across * window.stride_x
        rows = torch.arange(window.size_y)[:, None] * window.dilation_y
        within = (rows * width + torch.arange(window.size_x) * window.dilation_x).flatten()
        return padded.flatten(2)[:, :, within[:, None] + corners].permute(1, 2, 0, 3).flatten(0, 1).flatten(1)
    transforms = transform_matrices(winograd)
    first, last = (torch.from_numpy(np.kron(side, side).astype(np.float32))
                   for side in (transforms.input_array, transforms.output_array))  # fmt: skip
    tiles = first @ input_tiles(x, tile=winograd, padding=layer.window.top)
    tiles = tiles.view(len(first), -1, len(x), x.shape[1])
    tiles = tiles[:, _places(tiles.shape[1], max(wanted // len(last), 1))].flatten(1, 2)
    return torch.einsum("px,xtc->xctp", last, tiles).flatten(0, 1).flatten(1)


def _places(count: int, wanted: int) -> Tensor:
    """`wanted` of `count` places, drawn at random but always the same; all where there are no more."""
    if wanted >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))[:wanted]
