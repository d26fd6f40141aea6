"""Every kernel there is: those of the modules in this folder, and those of other packages.

A module here adds what it defines of `Kernel` objects. Another package adds one by an entry point of the group
`clprune.kernels`, whose name is the kernel's; its template lies where the kernel's `template_folders` say:

    [project.entry-points."clprune.kernels"]
    my_conv = "my_package.my_conv:MY_CONV"
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from clprune.errors import UsageError
from clprune.kernels.base import Kernel
from clprune.plugins import load_plugin, module_names, plugin_names

#: The group of the entry points, called like the folder.
GROUP = "clprune.kernels"


@functools.cache
def built_in_kernels() -> tuple[Kernel[Any, Any], ...]:
    """clprune's own, in the order of their modules' names.

    Tiles and operations differ from kernel to kernel, hence Any: whoever iterates only passes them back.
    """
    return tuple(kernel for name in module_names(GROUP) for kernel in _kernels_of(name))


def find_kernels() -> tuple[Kernel[Any, Any], ...]:
    """clprune's own and those of other packages. Raises UsageError for an entry point that is no kernel."""
    names = {kernel.name for kernel in built_in_kernels()}
    return (*built_in_kernels(), *(kernel_by_name(name) for name in plugin_names(GROUP) if name not in names))


def kernel_by_name(name: str) -> Kernel[Any, Any]:
    """The kernel called `name`. Raises UsageError where there is none, or an entry point of that name is no kernel."""
    modules = [name] if name in module_names(GROUP) else module_names(GROUP)
    own = (kernel for module in modules for kernel in _kernels_of(module) if kernel.name == name)
    found = next(own, None) or load_plugin(
        GROUP, name, expected="a clprune.kernels.base.Kernel of that name",
        fits=lambda plugin: isinstance(plugin, Kernel) and plugin.name == name,
    )  # fmt: skip
    if found is None:
        names = [*(kernel.name for kernel in built_in_kernels()), *plugin_names(GROUP)]
        raise UsageError(f"kernel {name!r}: expected one of {', '.join(names)}")
    kernel: Kernel[Any, Any] = found
    return kernel


def _kernels_of(name: str) -> list[Kernel[Any, Any]]:
    """The kernels that a module of this folder defines."""
    module = importlib.import_module(f"{GROUP}.{name}")
    values = [value for value in vars(module).values() if isinstance(value, Kernel)]
    return [kernel for kernel in values if type(kernel).__module__ == module.__name__]
