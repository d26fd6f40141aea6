"""Which tensors share a buffer: those that are never needed at the same time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clprune.layout import Layout

#: Activations up to this size keep a buffer each: sharing would save little, and costs a launch per tensor to clear its
#: padding.
SEPARATE_BYTES = 4 * 2**20

#: Layouts for which buffers of their own are tried: each takes a look at all steps.
MOST_SECLUDED = 200


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
    uses: Sequence[Use],
    layouts: Mapping[int, Layout],
    *,
    host_input: int,
    host_outputs: Sequence[int],
    constants: Sequence[int] = (),
    most_bytes: int = 0,
) -> MemoryPlan:
    """Greedy sharing: a new tensor takes the free buffer that has to grow least, or a new one.

    Where all tensors together take at most SEPARATE_BYTES, each has a buffer of its own. The padding of a tensor whose
    buffer held another layout has to be cleared, by a launch in every run. As long as that saves launches and takes no
    more than `most_bytes`, tensors of one layout, the smallest first, share among themselves only.

    `host_input` is alive from the start and written with its padding, `host_outputs` are alive to the end,
    `constants` always.
    """
    if sum(layout.size_bytes for layout in layouts.values()) <= SEPARATE_BYTES:
        return separate_buffers(layouts)
    last_use = {tensor: step for step, use in enumerate(uses) for tensor in (*use.inputs, use.output)}
    last_use |= dict.fromkeys((*host_outputs, *constants), len(uses))

    def place(secluded: frozenset[Layout]) -> MemoryPlan:
        buffers = _Buffers(layouts=layouts, secluded=secluded)
        for tensor in (*constants, host_input):
            buffers.place(tensor)
        for step, use in enumerate(uses):
            if use.output not in buffers.buffer_of:
                buffers.place(use.output)
            buffers.free |= {buffers.buffer_of[t] for t in (*use.inputs, use.output) if last_use[t] == step}
        return MemoryPlan(
            buffer_of=buffers.buffer_of,
            sizes_bytes=tuple(buffers.sizes),
            to_clear=_to_clear(buffers.buffer_of, layouts) - {host_input, *constants},
            is_shared=True,
        )

    secluded: frozenset[Layout] = frozenset()
    best = place(secluded)
    for layout in sorted(set(layouts.values()), key=lambda layout: layout.size_bytes)[:MOST_SECLUDED]:
        plan = place(secluded | {layout})
        if plan.total_bytes <= most_bytes and len(plan.to_clear) < len(best.to_clear):
            best, secluded = plan, secluded | {layout}
    return best


@dataclass(kw_only=True)
class _Buffers:
    """Buffers so far, and what kind of tensor each is for: a `secluded` layout, or None for all others."""

    layouts: Mapping[int, Layout]
    secluded: frozenset[Layout]
    buffer_of: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    kinds: list[Layout | None] = field(default_factory=list)
    free: set[int] = field(default_factory=set)

    def place(self, tensor: int) -> None:
        """A free buffer for `tensor`, or a new one; those of a secluded layout share with their own kind only."""
        layout = self.layouts[tensor]
        needed, kind = layout.size_bytes, layout if layout in self.secluded else None
        fitting = [number for number in self.free if self.kinds[number] == kind]
        best = min(fitting, key=lambda number: (max(0, needed - self.sizes[number]), self.sizes[number]), default=None)
        if best is None:
            best = len(self.sizes)
            self.sizes.append(needed)
            self.kinds.append(kind)
        self.sizes[best] = max(self.sizes[best], needed)
        self.free.discard(best)
        self.buffer_of[tensor] = best


def _to_clear(buffer_of: Mapping[int, int], layouts: Mapping[int, Layout]) -> frozenset[int]:
    """Tensors whose buffer held another layout before them, in this run or, for the first, at the end of the last."""
    tenants: dict[int, list[int]] = {}
    for tensor, number in buffer_of.items():  # in the order of their use
        tenants.setdefault(number, []).append(tensor)
    return frozenset(
        tensor
        for together in tenants.values()
        for before, tensor in zip([together[-1], *together], together, strict=False)
        if layouts[tensor].has_padding and layouts[before] != layouts[tensor]
    )
