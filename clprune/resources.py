"""Where templates and models lie: installed as `clprune.templates` and `clprune.models`, or beside the checkout."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path


@functools.cache  # of every rendered source it is asked for
def _folder(name: str) -> Path:
    spec = importlib.util.find_spec(f"clprune.{name}")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parent.parent / name


def templates_folder() -> Path:
    """Folder of the `*.cl.mako` kernel templates."""
    return _folder("templates")


def models_folder() -> Path:
    """Folder of the shipped `.cfg` files, weights and sample images."""
    return _folder("models")
