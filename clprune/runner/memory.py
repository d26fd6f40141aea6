"""Which tensors share a buffer: those that are never needed at the same time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clprune.layout import Layout

#: Activations up to this size keep a buffer each: sharing would save little, and costs a launch per tensor to clear its
#: padding.
SEPARATE_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one step reads and writes, by tensor."""

    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Buffers and who lives in them.

    buffer_of: tensor -> number of its buffer. sizes_bytes: per buffer. to_clear: tensors whose buffer another tensor
    with another layout uses as well, so that the zero padding has to be written anew before each use. is_shared: some
    results may be gone after a run.
    """

    buffer_of: Mapping[int, int]
    sizes_bytes: tuple[int, ...]
    to_clear: frozenset[int]
    is_shared: bool

    def with_views(self, views: Mapping[int, int]) -> MemoryPlan:
        """The same with tensors that live inside others (`views`: view -> tensor)."""
        inside = {view: self.buffer_of[tensor] for view, tensor in views.items()}
        return dataclasses.replace(self, buffer_of={**self.buffer_of, **inside})

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes_bytes)


def separate_buffers(layouts: Mapping[int, Layout]) -> MemoryPlan:
    """One buffer per tensor: every intermediate result can still be read after the run."""
    tensors = sorted(layouts)
    return MemoryPlan(
        buffer_of={tensor: number for number, tensor in enumerate(tensors)},
        sizes_bytes=tuple(layouts[tensor].size_bytes for tensor in tensors),
        to_clear=frozenset(),
        is_shared=False,
    )


def share_buffers(
    uses: Sequence[Use], layouts: Mapping[int, Layout], *, host_input: int, host_output: int
) -> MemoryPlan:
    """Greedy sharing: a new tensor takes the free buffer that has to grow least, or a new one.

    Where all tensors together take at most SEPARATE_BYTES, each has a buffer of its own.

    `host_input` is alive from the start and written with its padding, `host_output` is alive to the end.
    """
    if sum(layout.size_bytes for layout in layouts.values()) <= SEPARATE_BYTES:
        return separate_buffers(layouts)
    last_use = {tensor: step for step, use in enumerate(uses) for tensor in (*use.inputs, use.output)}
    last_use[host_output] = len(uses)
    buffer_of: dict[int, int] = {}
    sizes: list[int] = []
    free: set[int] = set()

    def place(tensor: int) -> None:
        needed = layouts[tensor].size_bytes
        best = min(free, key=lambda number: (max(0, needed - sizes[number]), sizes[number]), default=None)
        if best is None:
            best = len(sizes)
            sizes.append(needed)
        sizes[best] = max(sizes[best], needed)
        free.discard(best)
        buffer_of[tensor] = best

    place(host_input)
    for step, use in enumerate(uses):
        if use.output not in buffer_of:
            place(use.output)
        for tensor in {*use.inputs, use.output}:
            if last_use[tensor] == step:
                free.add(buffer_of[tensor])
    to_clear = _to_clear(buffer_of, layouts) - {host_input}
    return MemoryPlan(buffer_of=buffer_of, sizes_bytes=tuple(sizes), to_clear=to_clear, is_shared=True)


def _to_clear(buffer_of: Mapping[int, int], layouts: Mapping[int, Layout]) -> frozenset[int]:
    tenants: dict[int, list[int]] = {}
    for tensor, number in buffer_of.items():
        tenants.setdefault(number, []).append(tensor)
    return frozenset(
        tensor
        for together in tenants.values()
        for tensor in together
        if layouts[tensor].has_padding and any(layouts[other] != layouts[tensor] for other in together)
    )
