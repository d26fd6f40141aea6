"""Which tensors share a buffer, and whose padding has to be cleared."""

from __future__ import annotations

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
    assert {plan.buffer_of[number] for number in (2, 3, 4, 5)}.isdisjoint(plan.buffer_of[n] for n in (-1, 0, 1))
