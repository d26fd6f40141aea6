"""Unsigned numbers of a few bits each, one behind the other without gaps. NumPy only.

Number i takes bits `i * width` to `(i + 1) * width` of the whole, its lowest bit first; bit j of the whole is bit
`j % 8`, counted from the lowest, of byte `j // 8`. So two numbers of 4 bits share a byte, the first in its low half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.errors import UsageError

Bytes = npt.NDArray[np.uint8]

#: Numbers that are taken at a time, a multiple of 8 so that each chunk ends with a byte: bounds temporary memory.
CHUNK = 2**18


def packed_bytes(count: int, *, width: int) -> int:
    """Bytes that `count` numbers of `width` bits take."""
    return -(-count * width // 8)


def pack_bits(numbers: npt.NDArray[np.unsignedinteger[Any]], *, width: int) -> Bytes:
    """Pack `numbers` `[count]`, each below `2 ** width`, into uint8 `[packed_bytes]`; the last byte ends in zeros."""
    packed = np.empty(packed_bytes(numbers.size, width=width), np.uint8)
    for first in range(0, numbers.size if width else 0, CHUNK):
        part = numbers[first : first + CHUNK]
        bits = np.empty((part.size, width), np.uint8)
        for bit in range(width):
            bits[:, bit] = (part >> np.asarray(bit, part.dtype)) & np.asarray(1, part.dtype)
        start = packed_bytes(first, width=width)
        part_bytes = np.packbits(bits.reshape(-1), bitorder="little")
        packed[start : start + part_bytes.size] = part_bytes
    return packed


def unpack_bits(packed: Bytes, *, width: int, count: int) -> npt.NDArray[Any]:
    """The `count` numbers of `pack_bits`: uint8 up to 8 bits of width, uint32 above.

    Raises UsageError when `packed` has another length than that many numbers take.
    """
    if packed.size != packed_bytes(count, width=width):
        raise UsageError(f"{packed.size} bytes for {count} numbers of {width} bits")
    if width == 4:  # the codes of large layers: five times as fast as bit by bit
        halves = np.empty((packed.size, 2), np.uint8)
        np.bitwise_and(packed, 15, out=halves[:, 0])
        np.right_shift(packed, 4, out=halves[:, 1])
        return halves.reshape(-1)[:count]
    numbers = np.zeros(count, np.uint8 if width <= 8 else np.uint32)
    for first in range(0, count if width else 0, CHUNK):
        part = numbers[first : first + CHUNK]
        start = packed_bytes(first, width=width)
        part_bytes = packed[start : start + packed_bytes(part.size, width=width)]
        bits = np.unpackbits(part_bytes, count=part.size * width, bitorder="little").reshape(part.size, width)
        for bit in range(width):
            part |= bits[:, bit].astype(numbers.dtype, copy=False) << np.asarray(bit, numbers.dtype)
    return numbers
