"""What is found by name: in modules of clprune's own folders, and through entry points of other people's packages.

Looking through what is installed takes milliseconds, so it is done once.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from clprune.errors import UsageError


@functools.cache
def module_names(folder: str) -> tuple[str, ...]:
    """The modules of a package such as `clprune.kernels`, by their names alone."""
    return tuple(found.name for found in pkgutil.iter_modules(importlib.import_module(folder).__path__))


def plugin_names(group: str) -> list[str]:
    """The names that installed packages register in a group of entry points, such as `clprune.layer_kinds`."""
    return sorted({entry.name for entry in _entry_points(tuple(sys.path)).select(group=group)})


def load_plugin(group: str, name: str, *, expected: str, fits: Callable[[Any], bool]) -> Any:
    """The object that a package registers under `name`, None where none does. Raises UsageError if it cannot be loaded
    or does not fit: it is not the `expected`.

    Where several packages do, the first one found counts, as for modules of the same name.
    """
    for entry in _entry_points(tuple(sys.path)).select(group=group, name=name):
        try:
            found = entry.load()
        except Exception as error:  # whatever the code of others raises while it is imported
            package = entry.dist.name if entry.dist is not None else "a package"
            where, reason = f"{name} in {group}: {entry.value} of {package}", f"{type(error).__name__}: {error}"
            raise UsageError(f"{where} cannot be loaded ({reason}): mend or remove it") from error
        if not fits(found):
            raise UsageError(f"{name} in {group}: {found!r}: expected {expected}")
        return found
    return None


@functools.cache
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all packages that are installed on `path`."""
    from importlib import metadata  # here: it costs a start tens of milliseconds

    return metadata.entry_points()
