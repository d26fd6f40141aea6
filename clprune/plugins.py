"""What packages of other people add to clprune, found through their entry points.

Looking through what is installed takes milliseconds, so it is done once.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from clprune.errors import UsageError


def plugin_names(group: str) -> list[str]:
    """The names that installed packages register in a group of entry points, such as `clprune.layer_kinds`."""
    return sorted({entry.name for entry in _entry_points(tuple(sys.path)).select(group=group)})


def load_plugin(group: str, name: str) -> Any:
    """The object that a package registers under `name`, None where none does. Raises UsageError if it cannot be loaded.

    Where several packages do, the first one found counts, as for modules of the same name.
    """
    for entry in _entry_points(tuple(sys.path)).select(group=group, name=name):
        try:
            return entry.load()
        except Exception as error:  # whatever the code of others raises while it is imported
            package = entry.dist.name if entry.dist is not None else "a package"
            where, reason = f"{name} in {group}: {entry.value} of {package}", f"{type(error).__name__}: {error}"
            raise UsageError(f"{where} cannot be loaded ({reason}): mend or remove it") from error
    return None


@functools.cache
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all packages that are installed on `path`."""
    from importlib import metadata  # here: it costs a start tens of milliseconds

    return metadata.entry_points()
