"""From the name on the command line to a data set: `digits`, `digits-on-photos`, `cifar10:PATH` and so on."""

from __future__ import annotations

import importlib
from typing import get_args

from clprune.data.source import ENTRY_POINTS, DataSource, Request, Split
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.plugins import load_plugin, module_names, plugin_names
from clprune.progress import OnProgress


def list_data() -> tuple[str, ...]:
    """The specifications that `load_data` knows, in the order of their names, with PATH where one is needed."""
    sources = {name: _source(name) for name in sorted({*_own_names(), *plugin_names(ENTRY_POINTS)})}
    return tuple(_expected(name, source) for name, source in sources.items() if source is not None)


def load_data(
    spec: str,
    *,
    split: Split,
    height: int,
    width: int,
    seed: int = 0,
    count: int | None = None,
    channels: int = 3,
    options: ImageOptions | None = None,
    progress: OnProgress | None = None,
) -> DataSet:
    """Load the data set that `spec` names: one of `list_data()`.

    Images come as RGB of `height` x `width` pixels, or grey for 1 channel; `options` say how image files are read.
    `count` limits the images (composed sets draw that many). `seed` moves what is drawn at random for training; test
    images stay the same. What of a folder is left out is said in a `DataWarning`. Raises UsageError for an unknown
    specification, DataError for a missing or malformed path, MissingDependencyError where a package is needed, and
    ImageError for files that cannot be read where `options` are strict.
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
    request = Request(
        path=path, split=split, height=height, width=width, seed=seed, count=count, channels=channels,
        options=options or ImageOptions(), progress=progress,
    )  # fmt: skip
    data = source.load(request)
    return data.grey() if channels == 1 else data


def _own_names() -> list[str]:
    return [name.replace("_", "-") for name in module_names("clprune.data")]


def _source(name: str) -> DataSource | None:
    """The data set of that name: the `DATA_SET` of the module here that is called like it, else another package's."""
    own = None
    if name in _own_names():
        own = getattr(importlib.import_module(f"clprune.data.{name.replace('-', '_')}"), "DATA_SET", None)
    source: DataSource | None = own or load_plugin(
        ENTRY_POINTS, name, expected="a clprune.data.DataSource", fits=lambda found: isinstance(found, DataSource)
    )
    return source


def _expected(name: str, source: DataSource) -> str:
    return f"{name}:PATH" if source.needs_path else name
