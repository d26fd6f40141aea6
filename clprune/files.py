"""Writing files whole or not at all.

A reader never sees half a file: the bytes go to a temporary file in the same folder, which takes the final name in
one step (a rename) when everything was written, and is removed when anything went wrong.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clprune.errors import FileError


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends without an error.

    The folder must exist. An existing `path` is replaced and keeps its permissions; a symbolic link keeps pointing
    where it did, and the file that it names is replaced. Raises FileError when the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        # Mode x gives a new file the permissions that the process's umask allows, as for any other new file.
        with temporary.open("xb") as file:
            yield file
        with suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o7777)
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


def check_writable(path: Path) -> Path:
    """`path`, if it could be written: asked before hours of work, not after. Raises FileError."""
    if not path.parent.is_dir():
        raise FileError(f"no such folder: {path.parent}; make it first", path=path)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise FileError("cannot be written", path=path)
    return path
