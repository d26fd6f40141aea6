"""All pruning methods by name: the modules of `clprune.pruning.methods`, and what other packages add.

A package adds one by an entry point of the group `clprune.pruning_methods`: `NAME = package.module:METHOD`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from clprune.errors import UsageError
from clprune.plugins import load_plugin, module_names, plugin_names
from clprune.pruning.method import Method
from clprune.pruning.options import Option, declared_options

#: Where other packages register their methods.
ENTRY_POINTS = "clprune.pruning_methods"
FOLDER = "clprune.pruning.methods"


@cache
def list_methods() -> tuple[str, ...]:
    """Names of the methods, in alphabetical order."""
    return tuple(sorted({*module_names(FOLDER), *plugin_names(ENTRY_POINTS)}))


@cache
def get_method(name: str) -> Method:
    """The method of that name. Raises UsageError for an unknown one, and for one of another package that is broken."""
    if name in module_names(FOLDER):
        found: Any = importlib.import_module(f"{FOLDER}.{name}").METHOD
    else:
        found = load_plugin(
            ENTRY_POINTS, name, expected="a clprune.pruning.Method of that name",
            fits=lambda plugin: isinstance(plugin, Method) and plugin.name == name,
        )  # fmt: skip
    if found is None:
        raise UsageError(f"pruning method {name!r}: expected one of {', '.join(list_methods())}")
    method: Method = found
    return method


def method_options() -> Mapping[str, tuple[Option, tuple[str, ...]]]:
    """Every option that a method has, by name, with the names of the methods that have it.

    Raises UsageError for two methods that declare an option of one name differently.
    """
    found: dict[str, tuple[Option, tuple[str, ...]]] = {}
    for name in list_methods():
        for option in declared_options(get_method(name).options):
            declared, names = found.setdefault(option.name, (option, ()))
            if declared != option:
                raise UsageError(f"methods {names[0]} and {name} declare {option.name} differently: expected one way")
            found[option.name] = (declared, (*names, name))
    return found
