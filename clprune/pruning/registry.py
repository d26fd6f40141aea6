"""All pruning methods by name: the modules of `clprune.pruning.methods`, and what other packages add.

A package adds one by an entry point of the group `clprune.pruning_methods`: `NAME = package.module:METHOD`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pkgutil import iter_modules
from typing import Any

from clprune.errors import UsageError
from clprune.pruning import methods
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method
from clprune.pruning.options import Option, Options, declared_options
from clprune.pruning.unit import Mask, check_sparsity
from clprune.unit import Unit

#: Where other packages register their methods.
ENTRY_POINTS = "clprune.pruning_methods"


@cache
def list_methods() -> tuple[str, ...]:
    """Names of the methods, in alphabetical order."""
    from clprune.plugins import plugin_names

    return tuple(sorted({*_own_names(), *plugin_names(ENTRY_POINTS)}))


@cache
def get_method(name: str) -> Method:
    """The method of that name. Raises UsageError for an unknown one, and for one of another package that is broken."""
    if name in _own_names():
        found: Any = importlib.import_module(f"{methods.__name__}.{name}").METHOD
    else:
        from clprune.plugins import load_plugin

        found = load_plugin(ENTRY_POINTS, name)
    if found is None:
        raise UsageError(f"pruning method {name!r}: expected one of {', '.join(list_methods())}")
    if not isinstance(found, Method) or found.name != name:
        raise UsageError(f"pruning method {name!r}: found {found!r}, expected a Method of that name")
    return found


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


def mask_for(
    method: str,
    weights_2d: Matrix,
    *,
    unit: Unit,
    sparsity: float,
    criterion: str | None = None,
    group_rows: int | None = None,
    winograd: int | None = None,
    options: Options | None = None,
) -> Mask:
    """The mask of one layer: bool `[M, K]`, True where a weight stays.

    `weights_2d` is the layer in the GEMM view, `[out_channels, in_channels / groups * size * size]`; `group_rows` are
    the output channels of one group; without a `criterion` the method's own counts, without `options` its defaults. For
    the Winograd domain see `MaskRequest`. Raises UsageError for an unknown method or criterion, a sparsity outside
    [0, 1), or weights that are not finite.
    """
    chosen = get_method(method)
    check_sparsity(sparsity)
    request = MaskRequest(
        unit=unit,
        sparsity=sparsity,
        criterion=criterion or chosen.criterion,
        group_rows=group_rows,
        winograd=winograd,
        options=chosen.options() if options is None else options,
    )
    return chosen.mask(weights_2d, request)


@cache
def _own_names() -> frozenset[str]:
    return frozenset(module.name for module in iter_modules(methods.__path__))
