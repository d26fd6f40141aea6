"""Reading device memory from end to end: how its bandwidth is measured, and how caches are filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clprune.opencl import BoundKernel, Buffer, Session
from clprune.quirks import wants_explicit_vectors
from clprune.rendering import render


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A launch that reads `read_bytes` of a buffer."""

    run: BoundKernel
    read_bytes: int


class Reader:
    """Makes launches that read buffers. Raises BuildError, LaunchError."""

    def __init__(self, session: Session) -> None:
        is_cpu = wants_explicit_vectors(session.info)
        vector_width, unroll, self._group_n = (16, 4, 1) if is_cpu else (4, 4, 64)
        self._groups = session.info.compute_units * (8 if is_cpu else 32)
        self._group_bytes = 4 * vector_width * unroll * self._group_n  # of one turn
        self._session = session
        source = render("bandwidth", {"vector_width": vector_width, "unroll": unroll, "group_n": self._group_n})
        self._kernel = session.kernel(session.build(source), "bandwidth")
        self._sums = session.empty_buffer(4 * self._groups * self._group_n * vector_width)

    def whole_bytes(self, nbytes: int) -> int:
        """What of `nbytes` a launch reads: all work-items read equally much, and what is left over stays unread."""
        groups, turns = self._group_turns(nbytes)
        return groups * turns * self._group_bytes

    def _group_turns(self, nbytes: int) -> tuple[int, int]:
        """Work-groups and turns of each: fewer groups where there is not a turn for all of them."""
        groups = max(1, min(self._groups, nbytes // self._group_bytes))
        return groups, nbytes // (groups * self._group_bytes)

    def reading(self, buffer: Buffer) -> Reading:
        """A launch that reads `whole_bytes` of `buffer`."""
        groups, turns = self._group_turns(buffer.nbytes)
        run = self._session.bind(
            self._kernel,
            global_size=(groups * self._group_n,),
            local_size=(self._group_n,),
            arguments=(buffer, self._sums, np.int32(turns)),
        )
        return Reading(run=run, read_bytes=groups * turns * self._group_bytes)
