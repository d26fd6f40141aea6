"""Two convolutions in bands of rows, so that what lies between them stays in cache.

The first layers of a network have large outputs: those of VGG16's first convolution fill 13 MB, which travel to main
memory and back. Computed band by band, with the next convolution following at once, they are still in cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from clprune.darknet.layers import Convolutional, Layer
from clprune.darknet.network import Network
from clprune.kernels.base import ceil_div, round_up
from clprune.kernels.conv import ConvOperation

#: Bytes of a band per compute unit of a CPU: about its share of the caches that are near.
BYTES_PER_UNIT = 2**20

#: A tensor of fewer bands than this is left whole: it finds room further away.
FEWEST_BANDS = 4

#: Rows of a band are a multiple of it: whole tiles of Winograd convolution, whole windows of pooling.
ROW_MULTIPLE = 4

_Operation = TypeVar("_Operation", bound=ConvOperation)


@dataclass(frozen=True, kw_only=True)
class Band:
    """Rows `first` to behind `end` of a convolution's results, before any pooling."""

    first: int
    end: int


def banded_pairs(network: Network, fused: Mapping[int, int], *, band_bytes: int) -> dict[int, int]:
    """First convolution -> the one behind it, by index, where a band of `band_bytes` between them is worth it."""
    pairs: dict[int, int] = {}
    for layer in network.layers:
        readers = [reader for reader in network.layers if layer.index in reader.sources]
        if layer.index in pairs.values() or len(readers) != 1 or not _can_be_cut(layer, fused):
            continue
        reader = readers[0]
        is_large = band_bytes > 0 and 4 * layer.output.elements >= FEWEST_BANDS * band_bytes
        if is_large and isinstance(reader, Convolutional) and reader.stride == 1:
            pairs[layer.index] = reader.index
    return pairs


def _can_be_cut(layer: Layer, fused: Mapping[int, int]) -> bool:
    return isinstance(layer, Convolutional) and layer.stride == 1 and layer.index not in fused


def cut_bands(first: ConvOperation, second: ConvOperation, *, band_bytes: int) -> list[tuple[Band, Band]]:
    """(rows of the first convolution, rows of the second) in order: each band of the second finds the rows it reads."""
    height, needed = first.problem.out_height, second.problem.out_height
    plane_bytes = 4 * first.problem.out_channels * height * first.problem.out_width
    rows = round_up(ceil_div(needed, ceil_div(plane_bytes, band_bytes)), ROW_MULTIPLE)
    below = second.problem.size - 1 - second.problem.padding
    bands, done = [], 0
    for start in range(0, needed, rows):
        end = min(start + rows, needed)
        ahead = height if end == needed else min(end + below, height)
        bands.append((Band(first=done, end=ahead), Band(first=start, end=end)))
        done = ahead
    return bands


def in_band(operation: _Operation, band: Band) -> _Operation:
    """The part of a convolution of stride 1 that computes one band; it reads the rows around as they are."""
    problem, step = operation.problem, operation.row_step
    rows = band.end - band.first
    in_rows = rows + problem.size - 1 - 2 * problem.padding
    return replace(
        operation,
        problem=replace(problem, in_height=in_rows),
        input=operation.input.of_rows(band.first, in_rows),
        output=operation.output.of_rows(band.first // step, rows // step),
    )
