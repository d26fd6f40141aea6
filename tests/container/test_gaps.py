"""Coded positions, against bits written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clprune.container import gaps
from clprune.container.bits import packed_bytes
from clprune.container.gaps import CodedGaps, best_remainder_bits, decode_positions, encode_positions
from clprune.errors import UsageError


def coded(positions: list[int]) -> CodedGaps:
    return encode_positions(np.array(positions, np.int64))


def test_without_remainders_it_is_a_bit_map() -> None:
    found = coded([0, 1, 3, 6])
    assert found.remainder_bits == 0
    assert found.quotients.tolist() == [0b1001011]
    assert found.remainders.size == 0


def test_remainders_and_quotients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "best_remainder_bits", lambda positions: (2, 0))
    found = coded([5, 6, 16])  # gaps 5, 0, 9: quotients 1, 0, 2 and remainders 1, 0, 1
    assert found.quotients.tolist() == [0b100110]  # 01, 1, 001 from the lowest bit
    assert found.remainders.tolist() == [0b010001]
    assert decode_positions(found, size=17).tolist() == [5, 6, 16]


def test_the_example_of_the_format() -> None:
    found = coded([3, 9, 17])
    assert (found.remainder_bits, found.remainders.tolist(), found.quotients.tolist()) == (2, [0x37], [0x15])


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_round_trip(share: float) -> None:
    positions = np.flatnonzero(np.random.default_rng(1).random(4999) < share)
    found = encode_positions(positions)
    assert found.size_bytes == best_remainder_bits(positions)[1]
    assert decode_positions(found, size=4999).tolist() == positions.tolist()


def test_nothing() -> None:
    found = coded([])
    assert (found.count, found.size_bytes) == (0, 0)
    assert decode_positions(found, size=0).tolist() == []


def test_one_far_away() -> None:
    far = 2**40
    found = coded([far])
    assert found.size_bytes < 200
    assert decode_positions(found, size=far + 1).tolist() == [far]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_close_to_the_entropy(share: float) -> None:
    size = 200_000
    positions = np.flatnonzero(np.random.default_rng(2).random(size) < share)
    entropy_bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert encode_positions(positions).size_bytes * 8 < 1.04 * entropy_bits * size


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_no_larger_than_differences_of_8_bits_or_a_bit_map(share: float) -> None:
    positions = np.flatnonzero(np.random.default_rng(3).random(20_000) < share)
    assert encode_positions(positions).size_bytes < min(positions.size, packed_bytes(20_000, width=1))


SHARES = (0.003, 0.06, 0.1, 0.2, 0.4, 0.7)
RANDOM = [np.flatnonzero(np.random.default_rng(4).random(30_000) < share) for share in SHARES]
CLUSTERS = [np.append(np.arange(900), 9_000), np.append(np.arange(3), 9_000), np.arange(10) * 1000]


@pytest.mark.parametrize("positions", [*RANDOM, *CLUSTERS])
def test_the_chosen_remainder_bits_are_the_best_of_all(positions: np.ndarray) -> None:
    left_out = np.diff(positions, prepend=-1) - 1
    sizes = [
        packed_bytes(int((left_out >> k).sum()) + positions.size, width=1) + packed_bytes(positions.size, width=k)
        for k in range(16)
    ]
    assert best_remainder_bits(positions)[1] == min(sizes)


def test_refused() -> None:
    good = coded([0, 3, 4, 40])
    for bad in (
        replace(good, count=3),
        replace(good, count=5),
        replace(good, quotients=good.quotients[:-1]),
        replace(good, quotients=np.append(good.quotients, np.uint8(0))),
        replace(good, remainders=np.append(good.remainders, np.uint8(0))),
        replace(good, remainder_bits=32),
        replace(good, remainder_bits=-1),
    ):
        with pytest.raises(UsageError):
            decode_positions(bad, size=41)
    with pytest.raises(UsageError, match="position 40: expected less than 40"):
        decode_positions(good, size=40)
