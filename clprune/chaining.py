"""Launches that follow each other as one kernel, for CPU drivers (`templates/chain.cl.mako`).

A launch costs a CPU driver microseconds, in which it wakes its threads and waits for the last of them: as long as many
a layer of a small network takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.errors import BuildError
from clprune.kernels.arguments import Stage
from clprune.kernels.signature import Parameter
from clprune.opencl import BoundKernel, Buffer, Session
from clprune.opencl.merging import merge_as_functions, part_suffix
from clprune.rendering import render

#: Buffers of a chain, with its own: what fits into the 1024 bytes of arguments that every device takes.
MOST_BUFFERS = 128

#: Launches of a chain: with more of them a driver takes longer for each, and so does the search for the next.
MOST_LINKS = 64

#: Compute units at most: with more, taking work-groups one by one from a common counter has not been tried.
MOST_UNITS = 16

#: Operations for each compute unit above which a launch stays alone: it takes a millisecond or so, beside which nothing
#: is won, and more would be lost where others wait for its last task.
MOST_FLOPS = 5e7

#: Turns of waiting for others after which a work-item goes; and so many of them for each compute unit.
PATIENCE = 4000
ITEMS_PER_UNIT = 8

#: int elements between two counters, of which each has a cache line of its own.
_LINE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Link:
    """One launch of a chain: `stage` of `source`, built with `options`; its arguments in the order of `parameters`.

    `flops`: operations of the layer that it computes, or takes part in.
    """

    flops: float
    source: str
    options: tuple[str, ...]
    stage: Stage
    parameters: tuple[Parameter, ...]
    arguments: tuple[Any, ...]

    @property
    def groups(self) -> tuple[int, int, int]:
        """Work-groups along three dimensions."""
        launch = self.stage.launch
        sides = [size // local for size, local in zip(launch.global_size, launch.local_size, strict=True)]
        x, y, z = (*sides, 1, 1)[:3]
        return x, y, z

    @property
    def buffers(self) -> list[Buffer]:
        return [argument for argument in self.arguments if isinstance(argument, Buffer)]


def can_chain(device: DeviceInfo) -> bool:
    """Whether small launches should be one on `device`."""
    return quirks.gains_by_chains(device) and device.compute_units <= MOST_UNITS


def chained(session: Session, links: Sequence[Link]) -> tuple[BoundKernel, ...]:
    """Kernels that do what the launches of `links` would do one after another: small ones many at a time, others alone,
    and those whose work-groups have several work-items.

    Raises BuildError, also for a launch that a limit of its built kernel forbids, and LaunchError.
    """
    parts = list(_parts(links, units=session.info.compute_units))
    alone = [link for part in parts if len(part) == 1 for link in part]
    session.build_together([(link.source, link.options) for link in alone])
    return tuple(_alone(session, part[0]) if len(part) == 1 else _chain(session, part) for part in parts)


def _parts(links: Sequence[Link], *, units: int) -> Iterator[list[Link]]:
    """Links that can be one chain."""

    def sort(link: Link) -> tuple[bool, tuple[str, ...]]:
        is_single = link.stage.launch.work_group_size == 1
        return is_single and link.flops <= MOST_FLOPS * units, link.options

    for (can_join, _), run in itertools.groupby(links, sort):
        part: list[Link] = []
        buffers: set[Buffer] = set()
        for link in run:
            grown = buffers.union(link.buffers)
            if part and (not can_join or len(part) >= MOST_LINKS or len(grown) >= MOST_BUFFERS):
                yield part
                part, grown = [], set(link.buffers)
            part.append(link)
            buffers = grown
        yield part


def _alone(session: Session, link: Link) -> BoundKernel:
    launch = link.stage.launch
    kernel = session.kernel(session.build(link.source, options=link.options), link.stage.name)
    reason = kernel.obstacle(session.info, work_group_size=launch.work_group_size)
    if reason is not None:
        raise BuildError(f"{link.stage.name}: {reason}", log="", source=link.source)
    return session.bind(kernel, global_size=launch.global_size, local_size=launch.local_size, arguments=link.arguments)


def _chain(session: Session, links: Sequence[Link]) -> BoundKernel:
    units = session.info.compute_units
    buffers = {buffer: number for number, buffer in enumerate(dict.fromkeys(b for link in links for b in link.buffers))}
    source = chain_source(links, buffers, units=units)
    kernel = session.kernel(session.build(source, options=links[0].options), "chain")
    state = session.zeros(3 * 4 * _LINE)
    return session.bind(kernel, global_size=(ITEMS_PER_UNIT * units,), local_size=(1,), arguments=(state, *buffers))


def chain_source(links: Sequence[Link], buffers: dict[Buffer, int], *, units: int) -> str:
    """OpenCL C of the kernel `chain` for a device of `units` compute units; it takes its state, then `buffers`, by
    their numbers. Numbers among the arguments are part of it.
    """
    numbers = {source: number for number, source in enumerate(dict.fromkeys(link.source for link in links))}
    launches = tuple(_launch(link, part_suffix(numbers[link.source]), buffers) for link in links)
    settings = {"units": units, "patience": PATIENCE, "line": _LINE, "buffers": len(buffers)}
    driver = render("chain", {"launches": launches, **settings})
    return merge_as_functions(tuple(numbers)) + driver


def _launch(link: Link, suffix: str, buffers: dict[Buffer, int]) -> dict[str, Any]:
    arguments = tuple(
        (parameter.type, buffers[argument], True)
        if isinstance(argument, Buffer)
        else (parameter.type, _bits(argument), False)
        for parameter, argument in zip(link.parameters, link.arguments, strict=True)
    )
    return {"function": link.stage.name + suffix, "groups": link.groups, "arguments": arguments}


def _bits(value: np.generic) -> int:
    """A number as OpenCL C can be told it exactly: floats by their bits."""
    return int(value.view(np.uint32)) if isinstance(value, np.float32) else int(value)
