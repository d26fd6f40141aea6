"""clprune: tune, prune and run darknet networks with OpenCL.

Importing the package is quick: `Runner` and everything behind it (NumPy, OpenCL) load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clprune.version import __version__

if TYPE_CHECKING:
    from clprune.runner import Runner

__all__ = ["Runner", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Runner":
        from clprune.runner import Runner

        return Runner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
