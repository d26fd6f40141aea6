"""Which tensors share a buffer: those that are never needed at the same time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from clprune.layout import Layout

#: Activations up to this size keep a buffer each: sharing would save little, and costs a launch per tensor to clear its
#: padding.
SEPARATE_BYTES = 4 * 2**20

#: Kinds of tensors for which buffers of their own are tried: each takes a look at all steps.
MOST_SECLUDED = 200

#: A tensor's layout, and whether zeros stand in its padding.
Kind = tuple[Layout, bool]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one step reads and writes, by tensor; `reads_padding`: whether its results depend on that of its inputs."""

    inputs: tuple[int, ...]
    output: int
    reads_padding: bool = True


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Buffers and who lives in them.

    buffer_of: tensor -> number of its buffer. sizes_bytes: per buffer. to_clear: tensors whose padding somebody reads
    and whose buffer another tensor with another layout uses as well, so that the zeros have to be written anew before
    each use. is_shared: some results may be gone after a run.
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
    buffer held another layout has to be cleared where it is read, by a launch in every run. As long as that saves
    launches, or memory, and takes no more than `most_bytes` (or than it takes without), tensors of one layout, whose
    padding is read or is not, the smallest first, share among themselves only.

    `host_input` is alive from the start and written with its padding, `host_outputs` are alive to the end,
    `constants` always.
    """
    if sum(layout.size_bytes for layout in layouts.values()) <= SEPARATE_BYTES:
        return separate_buffers(layouts)
    last_use = {tensor: step for step, use in enumerate(uses) for tensor in (*use.inputs, use.output)}
    last_use |= dict.fromkeys((*host_outputs, *constants), len(uses))
    written = frozenset((host_input, *constants))  # with their padding
    padded = {tensor for use in uses if use.reads_padding for tensor in use.inputs} - written

    kinds = {tensor: (layout, tensor in padded or tensor in written) for tensor, layout in layouts.items()}

    def place(secluded: frozenset[Kind]) -> MemoryPlan:
        buffers = _Buffers(layouts=layouts, secluded=secluded, kinds=kinds)
        for tensor in (*constants, host_input):
            buffers.place(tensor)
        for step, use in enumerate(uses):
            if use.output not in buffers.buffer_of:
                buffers.place(use.output)
            buffers.free |= {buffers.buffer_of[t] for t in (*use.inputs, use.output) if last_use[t] == step}
        return MemoryPlan(
            buffer_of=buffers.buffer_of,
            sizes_bytes=tuple(buffers.sizes),
            to_clear=_to_clear(buffers.buffer_of, layouts, padded=padded, written=written),
            is_shared=True,
        )

    secluded: frozenset[Kind] = frozenset()
    best = place(secluded)
    most_bytes = max(most_bytes, best.total_bytes)
    smallest = sorted(set(kinds.values()), key=lambda kind: (kind[0].size_bytes, kind[1]))[:MOST_SECLUDED]
    for saves_launches in (False, True):  # first memory, as where a small tensor lies in a large buffer
        for kind in smallest:
            plan = place(secluded | {kind})
            fewer = len(best.to_clear) - len(plan.to_clear)
            is_better = fewer > 0 if saves_launches else fewer >= 0 and plan.total_bytes < best.total_bytes
            if is_better and plan.total_bytes <= most_bytes:
                best, secluded = plan, secluded | {kind}
    return best


@dataclass(kw_only=True)
class _Buffers:
    """Buffers so far, and what each is for: tensors of a `secluded` kind, or None for all others."""

    layouts: Mapping[int, Layout]
    secluded: frozenset[Kind]
    kinds: Mapping[int, Kind]
    buffer_of: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    purposes: list[Kind | None] = field(default_factory=list)
    free: set[int] = field(default_factory=set)

    def place(self, tensor: int) -> None:
        """A free buffer for `tensor`, or a new one; those of a secluded kind share among themselves only."""
        needed = self.layouts[tensor].size_bytes
        purpose = self.kinds[tensor] if self.kinds[tensor] in self.secluded else None
        fitting = [number for number in self.free if self.purposes[number] == purpose]
        best = min(fitting, key=lambda number: (max(0, needed - self.sizes[number]), self.sizes[number]), default=None)
        if best is None:
            best = len(self.sizes)
            self.sizes.append(needed)
            self.purposes.append(purpose)
        self.sizes[best] = max(self.sizes[best], needed)
        self.free.discard(best)
        self.buffer_of[tensor] = best


def _to_clear(
    buffer_of: Mapping[int, int], layouts: Mapping[int, Layout], *, padded: Set[int], written: Set[int]
) -> frozenset[int]:
    """Of the `padded` tensors those whose buffer has no zeros in their padding but another layout's values, of this run
    or, for the first, of the last. Those that are `written` with zeros leave them to the next of their layout, too.
    """
    tenants: dict[int, list[int]] = {}
    for tensor, number in buffer_of.items():  # in the order of their use
        tenants.setdefault(number, []).append(tensor)
    found: set[int] = set()
    for together in tenants.values():
        clean: Layout | None = None  # whose padding holds zeros
        for run in range(2):
            for tensor in together:
                layout = layouts[tensor]
                is_clean = clean == layout or not layout.has_padding
                if run == 1 and tensor in padded and not is_clean:
                    found.add(tensor)
                clean = layout if is_clean or tensor in padded or tensor in written else None
    return frozenset(found)
