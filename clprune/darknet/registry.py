"""Which kinds of layers there are: the classes in `clprune.darknet.kinds`, and those of other packages.

Another package adds a kind by an entry point of the group `clprune.layer_kinds`, whose name is that of the section:

    [project.entry-points."clprune.layer_kinds"]
    scale_by = "my_package.scale_by:ScaleBy"
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping

from clprune.darknet.kinds.base import Layer
from clprune.plugins import load_plugin, module_names

GROUP = "clprune.layer_kinds"
FOLDER = "clprune.darknet.kinds"

#: Sections that darknet or a fork of it knows and clprune does not run.
REFUSED = "crnn deconvolutional gru iseg lstm rnn conv_lstm history representation"

#: Those among them whose output depends on earlier images.
RECURRENT = frozenset({"crnn", "gru", "lstm", "rnn", "conv_lstm", "history"})

#: Other names of sections that belong to no kind.
ALIASES: Mapping[str, str] = {"network": "net", "deconv": "deconvolutional"}


@functools.cache
def built_in_kinds() -> Mapping[str, type[Layer]]:
    """The classes in `clprune.darknet.kinds` by every name of their sections."""
    names = [f"{FOLDER}.{name}" for name in module_names(FOLDER)]
    values = [value for name in names for value in vars(importlib.import_module(name)).values()]
    classes = [value for value in values if isinstance(value, type) and issubclass(value, Layer)]
    return {name: kind for kind in classes for name in kind.names}


@functools.cache
def find_kind(name: str) -> type[Layer] | None:
    """The class of a section, None where nobody has one. Raises UsageError for a package's that is no kind."""
    kind = built_in_kinds().get(name)
    if kind is not None or name == "net":
        return kind
    plugin: type[Layer] | None = load_plugin(
        GROUP, name, expected="a subclass of clprune.darknet.kinds.base.Layer of that name",
        fits=lambda found: isinstance(found, type) and issubclass(found, Layer) and name in found.names,
    )  # fmt: skip
    return plugin


def section_name(name: str) -> str | None:
    """The full name of a section that may be an alias, None where darknet has none of that name and nobody else."""
    name = ALIASES.get(name, name)
    kind = find_kind(name)
    return kind.names[0] if kind is not None else name if name == "net" or name in REFUSED.split() else None


def kind_names(base: type[Layer] = Layer) -> str:
    """The kinds that clprune brings, those derived from `base`, for an error."""
    return ", ".join(sorted({kind.names[0] for kind in built_in_kinds().values() if issubclass(kind, base)}))
