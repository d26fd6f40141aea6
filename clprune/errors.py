"""The one error tree of clprune: every leaf is one cause, and its text says what was found, expected, and what to do.

Anything that is not a `ClpruneError` is a bug of ours and must surface as a traceback. The command line turns a
`UsageError` into exit status 2 and every other `ClpruneError` into exit status 1.
"""

from __future__ import annotations

import copyreg
from os import PathLike
from pathlib import Path
from typing import Any

#: Characters of a message about a file, and of its path: more of them are something that a file says.
MAX_CHARACTERS = 1000


def shown(value: object, length: int = 60) -> str:
    """Anything out of a file, made fit for one line of an error: text as it is, other values as Python writes them."""
    text = value if isinstance(value, str) else repr(value)
    printable = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return printable if len(text) <= length else printable[:length] + "..."


def _on_one_line(text: str) -> str:
    """`text` cut short, with "?" for what is not printable, but for the bytes of a path that are no text."""
    shortened = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else "?" for c in shortened)


class ClpruneWarning(UserWarning):
    """Base of every warning of clprune: one line, whatever the names and files that it tells of hold."""

    def __init__(self, message: str) -> None:
        super().__init__(_on_one_line(message))


class ClpruneError(Exception):
    """Base of every error that clprune raises on purpose. It can be pickled, whatever its constructor takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class UsageError(ClpruneError, ValueError):
    """An argument is outside what a function or command accepts (unknown method, sparsity of 1.5, ...)."""


class FileError(ClpruneError):
    """A file cannot be used; the text begins with its path and, where known, the line.

    Attributes: `path`, `line` (1-based, or None).
    """

    def __init__(self, message: str, *, path: str | PathLike[str], line: int | None = None) -> None:
        self.path = Path(path)
        self.line = line
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{_on_one_line(where)}: {_on_one_line(message)}")


class CfgError(FileError):
    """A `.cfg` file breaks darknet's format or describes a network that cannot exist."""


class WeightsError(FileError):
    """A weights file does not fit its network: short, long, not finite, or of an unknown version."""


class ImageError(FileError):
    """An image cannot be read or decoded."""


class DataError(FileError):
    """A data set or names file is missing or malformed."""


class ExchangeError(FileError):
    """A model of another framework cannot be read, holds what a cfg cannot express, or computes something else."""


class UnsupportedLayerError(ClpruneError):
    """The network parses, but no kernel runs this layer yet."""


class NoDeviceError(ClpruneError):
    """No OpenCL platform or device was found, or none matches the selection."""


class BuildError(ClpruneError):
    """The driver refused a kernel's source. Attributes: `log`, `source`."""

    def __init__(self, message: str, *, log: str, source: str) -> None:
        self.log = log
        self.source = source
        super().__init__(f"{message}\n{log.strip()}" if log.strip() else message)


class LaunchError(ClpruneError):
    """The driver refused to launch a built kernel or to allocate its buffers."""


class TileError(ClpruneError):
    """What a database or a file says of tiles is none; the text names what was found and what was expected."""


class RenderError(ClpruneError):
    """A template failed to render; the text names template, line and parameters."""


class ConfigurationRejected(ClpruneError):
    """A kernel configuration cannot run this problem on this device; the text is the declared reason.

    This is the only exception that a search may skip over silently.
    """


class WrongAnswer(ConfigurationRejected):
    """A built candidate computed something else than its float64 reference (or wrote outside its buffer)."""


class StoreError(FileError):
    """The tuning database cannot be read or written, is of a newer version, or could be somebody else's."""


class DamagedStoreError(StoreError):
    """The tuning database's file is damaged, or no database of clprune's at all. Attribute: its `inode`, if known."""

    inode: int | None = None


class MissingDependencyError(ClpruneError):
    """An optional package is needed for this command; the text names the extra to install."""


class WorkerError(ClpruneError):
    """Worker processes or their scheduler ended or did not answer; the text is a process's own last word where it left
    one.
    """
