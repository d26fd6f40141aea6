"""Programs that an open device remembers: those that are wanted again, and the last ones of a search."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeAlias, TypeVar

from clprune.opencl.kernels import Program

Options: TypeAlias = tuple[str, ...]
P = TypeVar("P", bound=Program)

#: Programs of a search that are remembered: tiles that many problems begin with have one source for all of them. Each
#: takes some three megabytes.
MOST_BRIEF = 64


class RememberedPrograms(Generic[P]):
    """Programs by source and options. Safe to use from several threads at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Options], P] = {}
        self._brief: OrderedDict[tuple[str, Options], P] = OrderedDict()  # the latest last
        self._lock = threading.Lock()

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._brief.clear()

    def find(self, source: str, options: Options) -> P | None:
        """One that is wanted again."""
        with self._lock:
            return self._known.get((source, options))

    def find_brief(self, source: str, options: Options) -> P | None:
        """One of either kind."""
        with self._lock:
            return self._known.get((source, options)) or self._brief.get((source, options))

    def add(self, source: str, options: Options, program: P) -> P:
        """What is remembered from now on: `program`, or the one that came before it."""
        with self._lock:
            return self._known.setdefault((source, options), program)

    def add_brief(self, source: str, options: Options, program: P) -> P:
        """Remember `program`, or that it was wanted once more, until MOST_BRIEF others were."""
        with self._lock:
            self._brief[source, options] = program
            self._brief.move_to_end((source, options))
            if len(self._brief) > MOST_BRIEF:
                self._brief.popitem(last=False)
        return program
