"""From the name on the command line to a data set: `digits`, `digits-on-photos`, `cifar10:PATH` and so on."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from clprune.data.source import ENTRY_POINTS, DataSource, Request, Split
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.image import Resize
from clprune.plugins import load_plugin, plugin_names


def list_data() -> tuple[str, ...]:
    """The specifications that `load_data` knows, in the order of their names, with PATH where one is needed."""
    sources = {name: _source(name) for name in sorted({*_module_names(), *plugin_names(ENTRY_POINTS)})}
    return tuple(_expected(name, source) for name, source in sources.items() if source is not None)


def load_data(
    spec: str,
    *,
    split: Split,
    height: int,
    width: int,
    seed: int = 0,
    count: int | None = None,
    resize: Resize = "letterbox",
) -> DataSet:
    """Load the data set that `spec` names: one of `list_data()`.

    Images come as RGB of `height` x `width` pixels; `resize` says how image files are made to fit. `count` limits the
    images (composed sets draw that many). `seed` moves what is drawn at random for training; test images stay the
    same. Raises UsageError for an unknown specification, DataError for a missing or malformed path,
    MissingDependencyError where a package is needed.
    """
    name, _, path = spec.partition(":")
    source = _source(name)
    if source is None:
        raise UsageError(f"data {spec!r}: expected one of {', '.join(list_data())}")
    if split not in get_args(Split):
        raise UsageError(f"split {split!r}: expected one of {', '.join(get_args(Split))}")
    if source.needs_path != bool(path):
        raise UsageError(f"data {spec!r}: expected {_expected(name, source)}")
    if count is not None and count < 1:
        raise UsageError(f"{count} images of {spec}: expected at least 1")
    if height < 1 or width < 1 or seed < 0:
        raise UsageError(f"images of {height}x{width}, seed {seed}: expected a positive size and a seed from 0 on")
    request = Request(path=path, split=split, height=height, width=width, seed=seed, count=count, resize=resize)
    return source.load(request)


@functools.cache
def _module_names() -> Sequence[str]:
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules([str(Path(__file__).parent)])]


def _source(name: str) -> DataSource | None:
    """The data set of that name: the `DATA_SET` of the module here that is called like it, else another package's."""
    found = None
    if name in _module_names():
        found = getattr(importlib.import_module(f"clprune.data.{name.replace('-', '_')}"), "DATA_SET", None)
    found = load_plugin(ENTRY_POINTS, name) if found is None else found
    if found is not None and not isinstance(found, DataSource):
        raise UsageError(f"data {name}: found {type(found).__name__}, expected a clprune.data.DataSource")
    return found


def _expected(name: str, source: DataSource) -> str:
    return f"{name}:PATH" if source.needs_path else name
