"""Numbers of a few bits each, against bytes written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.container import bits
from clprune.container.bits import pack_bits, packed_bytes, unpack_bits
from clprune.errors import UsageError


def test_two_codes_to_a_byte_the_first_in_the_low_half() -> None:
    assert pack_bits(np.array([1, 2, 15], np.uint8), width=4).tolist() == [0x21, 0x0F]


def test_numbers_run_over_the_ends_of_bytes() -> None:
    # 5, 6, 7 with 3 bits each, lowest bits first: 101 011 11|1
    assert pack_bits(np.array([5, 6, 7], np.uint32), width=3).tolist() == [0b11110101, 0b1]


@pytest.mark.parametrize("width", [0, 1, 3, 4, 7, 8, 9, 17, 31])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 31, 33])
def test_round_trip(width: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "CHUNK", 16)
    numbers = np.random.default_rng(width).integers(0, 2**width, count).astype(np.uint32)
    packed = pack_bits(numbers, width=width)
    assert packed.size == packed_bytes(count, width=width)
    assert unpack_bits(packed, width=width, count=count).tolist() == numbers.tolist()


@pytest.mark.parametrize("size", [0, 1, 3])
def test_wrong_length(size: int) -> None:
    with pytest.raises(UsageError, match=f"{size} bytes for 3 numbers of 4 bits"):
        unpack_bits(np.zeros(size, np.uint8), width=4, count=3)
