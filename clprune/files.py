"""Writing files whole or not at all.

A reader never sees half a file: the bytes go to a temporary file in the same folder, which takes the final name in
one step (a rename) when everything was written, and is removed when anything went wrong.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clprune.errors import FileError

DEFAULT_MODE = 0o666
"""Permissions of a new file before the process's umask, as `open` gives them."""


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends without an error.

    The folder must exist. An existing `path` is replaced and keeps its permissions; a symbolic link keeps pointing
    where it did, and the file that it names is replaced. Raises FileError when the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise FileError(f"cannot be written: {error.strerror or error}", path=path) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.chmod(_mode_of(target))
        temporary.replace(target)
    except OSError as error:
        raise FileError(f"cannot be written: {error.strerror or error}", path=path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path`, whole or not at all; text is encoded as UTF-8 with its newlines kept as they are.

    Undecodable bytes that were read with `surrogateescape` come out as they went in. Raises FileError.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with atomic_writer(path) as file:
        file.write(data)


def _mode_of(target: Path) -> int:
    """Permissions that `target` has, or those that a new file would get."""
    try:
        return target.stat().st_mode & 0o7777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return DEFAULT_MODE & ~mask
