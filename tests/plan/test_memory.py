"""Which tensors share a buffer, and whose padding has to be cleared."""

from __future__ import annotations

import dataclasses

from clprune.geometry import Shape
from clprune.layout import Layout, padded_layout
from clprune.plan.memory import Use, share_buffers

CHAIN = tuple(Use(inputs=(number,), output=number + 1) for number in range(-1, 5))


def square(channels: int, side: int) -> Layout:
    return padded_layout(batch=1, shape=Shape(channels=channels, height=side, width=side), pitch=side + 1, padding=1)


LARGE, SMALL = square(4, 64), square(8, 16)
LAYOUTS = {-1: LARGE, 0: LARGE, 1: LARGE, 2: SMALL, 3: SMALL, 4: SMALL, 5: SMALL}


def test_two_buffers_are_enough_for_a_chain() -> None:
    plan = share_buffers(CHAIN, LAYOUTS, host_input=-1, host_outputs=[5])
    assert plan.sizes_bytes == (LARGE.size_bytes, LARGE.size_bytes)
    # 2 and 3 are the first small ones in their buffers, 0 the first large one of a run in its own; 1 comes after the
    # input, which the host writes with its padding
    assert plan.to_clear == {0, 2, 3}


def test_memory_that_is_allowed_saves_clearing() -> None:
    most = 2 * (LARGE.size_bytes + SMALL.size_bytes)
    plan = share_buffers(CHAIN, LAYOUTS, host_input=-1, host_outputs=[5], most_bytes=most)
    assert plan.to_clear == frozenset()
    assert plan.total_bytes <= most
    assert {plan.buffer_of[number] for number in (2, 3, 4)}.isdisjoint(plan.buffer_of[n] for n in (-1, 0, 1))


def test_padding_that_nobody_reads_is_not_cleared() -> None:
    """1x1 layers between: zeros that the one before 4 has not written are missed there."""
    inside = {1, 2, 3}  # tensors that only such layers read
    uses = [dataclasses.replace(use, reads_padding=use.inputs[0] not in inside) for use in CHAIN]
    assert share_buffers(uses, LAYOUTS, host_input=-1, host_outputs=[5]).to_clear == {0, 4}


def test_zeros_that_are_left_by_others_count() -> None:
    """0 and 2 share a buffer and a layout: what the first run begins with stays."""
    layouts = dict.fromkeys(range(-1, 4), LARGE)
    uses = [Use(inputs=(n,), output=n + 1, reads_padding=n == 2) for n in range(-1, 3)]
    assert share_buffers(uses, layouts, host_input=-1, host_outputs=[3]).to_clear == frozenset()


def test_a_small_tensor_keeps_no_large_buffer_from_others() -> None:
    """1 is needed to the end: in the place of -1 or 0 it would leave 3 to a buffer of its own."""
    small, tiny = square(4, 31), square(1, 3)
    layouts = {-1: LARGE, 0: LARGE, 1: tiny, 2: small, 3: small, 4: tiny}
    chain = [Use(inputs=(n,), output=n + 1) for n in range(-1, 3)]
    plan = share_buffers([*chain, Use(inputs=(3, 1), output=4)], layouts, host_input=-1, host_outputs=[4])
    assert plan.total_bytes <= 2 * LARGE.size_bytes + 2 * tiny.size_bytes
