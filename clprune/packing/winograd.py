"""Weights in the Winograd domain: per row block and matrix U_xi, the input channels that are kept, and their values.

The unit is a block of consecutive output channels x 1 input channel in one matrix U_xi. What is skipped follows from
the zeros alone: a row block of `tile_m` rows keeps a channel in U_xi when any of its rows needs it. Lists may differ in
length (wsp), or be equally long in all matrices (bwsp).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import FloatArray, IntArray, PackedArrays, longest_over_mean

#: Fields of one row of `PackedWinograd.blocks`, in order.
WINOGRAD_FIELDS = ("list_start", "kept", "value_start")


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedWinograd(PackedArrays):
    """Compact form of U `[alpha, alpha, rows, channels]` for kernels that compute `tile_m` rows at once.

    values: float32, per row block and matrix `[kept, tile_m]`, short blocks filled with zero rows.
    offsets: int32, the lists; an entry is the channel's number times the caller's `channel_stride`.
    blocks: int32 `[row blocks, alpha * alpha, 3]`, see WINOGRAD_FIELDS.
    bias: float32 `[row blocks, tile_m]`, zeros behind the last row of a short block.
    kept_share: weights multiplied (without fill) over weights of the dense U.
    """

    tile_m: int
    offsets: IntArray
    blocks: IntArray

    @property
    def imbalance(self) -> float:
        """The longest list over the mean: what concurrent products of unequal length wait for."""
        return longest_over_mean(self.blocks[:, :, 1])


def pack_winograd(
    transformed: npt.NDArray[Any],
    *,
    bias: FloatArray,
    tile_m: int,
    channel_stride: int = 1,
    sweep: int = 1,
    lookahead: int = 0,
    whole: int = 1,
) -> PackedWinograd:
    """Pack U `[alpha, alpha, rows, channels]`, rounded to float32, with `bias` `[rows]` into row blocks of `tile_m`.

    Values lie in the order of use: sweeps of `sweep` row blocks (0: all), in them matrix by matrix, then block by
    block. Where every list is full they are one. `lookahead` entries that point at channel 0 follow the last list, and
    as many columns of zeros the last values, for kernels that read ahead. Lists are filled up to multiples of `whole`
    channels, with the last kept one and zeros as weights; as much fill follows the last.
    """
    rows, channels = transformed.shape[2:]
    matrices = transformed.shape[0] * transformed.shape[1]
    row_blocks = -(-rows // tile_m)
    filled = np.zeros((matrices, row_blocks * tile_m, channels), np.float32)
    filled[:, :rows] = transformed.reshape(matrices, rows, channels)
    columns = filled.reshape(matrices, row_blocks, tile_m, channels)
    is_dense = np.count_nonzero(filled) == transformed.size  # most are, and are told quickly
    any_of_block = np.ones((matrices, row_blocks, channels), np.bool_) if is_dense else np.any(columns != 0, axis=2)
    used = np.ascontiguousarray(any_of_block.transpose(1, 0, 2))  # [row blocks, matrices, channels]
    order = _order_of_use(row_blocks, matrices, sweep)
    kept = used.sum(axis=2).astype(np.int64)
    lengths = -(-kept // whole) * whole
    starts = np.zeros(row_blocks * matrices, np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(lengths.reshape(-1)[order])[:-1]])
    ordered_used = used.reshape(-1, channels)[order]
    block, matrix = np.divmod(order, matrices)
    is_full, ahead = bool(used.all()), max(lookahead, whole)
    values = np.zeros((int(lengths.sum()) + ahead, tile_m), np.float32)
    in_order = columns[matrix, block].transpose(0, 2, 1)
    if is_full:
        values[:-ahead].reshape(len(order), -1, tile_m)[:, :channels] = in_order
        channel_of = np.minimum(np.arange(lengths[0, 0]), channels - 1)
    else:
        channel_of, kept_values = np.nonzero(ordered_used)[1], in_order[ordered_used]
        if whole > 1:
            places, channel_of = _filled_lists(ordered_used, lengths.reshape(-1)[order])
            values[places] = kept_values
        else:
            values[:-ahead] = kept_values
    lists = np.concatenate([channel_of * channel_stride, np.zeros(ahead, np.int64)])
    descriptors = np.stack([np.zeros_like(starts) if is_full else starts, lengths.reshape(-1), starts * tile_m], axis=1)
    packed_bias = np.zeros(row_blocks * tile_m, np.float32)
    packed_bias[:rows] = bias
    block_rows = np.minimum(tile_m, rows - tile_m * np.arange(row_blocks))
    return PackedWinograd(
        tile_m=tile_m,
        values=values.reshape(-1),
        offsets=lists.astype(np.int32),
        blocks=descriptors.reshape(row_blocks, matrices, len(WINOGRAD_FIELDS)).astype(np.int32),
        bias=packed_bias.reshape(row_blocks, tile_m),
        kept_share=float((kept.sum(axis=1) * block_rows).sum() / transformed.size),
    )


def _filled_lists(
    used: npt.NDArray[np.bool_], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of lists that keep what `used` `[lists, channels]` says, filled up to `lengths` with the last: the places of kept
    channels among all entries, and the channel of every entry.
    """
    number, channel = np.nonzero(used)
    kept = used.sum(axis=1)
    fill_before = np.cumsum(lengths - kept) - (lengths - kept)
    places = np.arange(len(channel)) + fill_before[number]
    last = used.shape[1] - 1 - np.argmax(used[:, ::-1], axis=1)
    channel_of = np.repeat(last, lengths)
    channel_of[places] = channel
    return places, channel_of


def _order_of_use(row_blocks: int, matrices: int, sweep: int) -> npt.NDArray[np.int64]:
    """Indices into (row block, matrix), flattened, in the order in which kernels come by."""
    block, matrix = np.divmod(np.arange(row_blocks * matrices), matrices)
    return np.lexsort((block, matrix, block // (sweep or row_blocks)))
