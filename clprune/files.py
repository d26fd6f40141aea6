"""Reading files that may be anything, and writing files whole or not at all.

Every file from outside is opened by `open_file`, and text is decoded by `decode_text`. A reader of what is written here
never sees half a file: the bytes go to a file without a name (where the system has none: a temporary one) in the same
folder, which takes the final name in one step (a rename) when everything was written, and is gone when anything went
wrong.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clprune.errors import DataError, FileError, UsageError

#: No text that a person writes (class names, a list of files) is this large; a weights file given in its place is.
MAX_TEXT_BYTES = 1 << 24

#: How text begins that says itself how it is encoded; the first that fits counts.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: What disks are given out by.
_BLOCK_BYTES = 4096

#: No system has paths as long as this.
_MAX_LINE_BYTES = 1 << 16

#: How files begin that are often found in the place of others (compared in lower case) -> what they are.
_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer (`git lfs pull` fetches the file itself)",
    b"<!doctype": "an HTML page (download the file itself)",
    b"<html": "an HTML page (download the file itself)",
    b"<?xml": "an XML file",
    b"<svg": "an SVG drawing (export it as PNG)",
    b"pk\x03\x04": "a zip archive (unpack it; PyTorch's files are such, too)",
    b"\x1f\x8b": "a gzip file (unpack it)",
    b"\x89png": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x89hdf": "an HDF5 file",
}


#: Where Linux shows open files of this process, even those without a name.
_DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def open_file(path: str | Path, *, error: type[FileError]) -> Iterator[BinaryIO]:
    """Open a file to read its bytes.

    Raises `error` for one that is missing, cannot be read (inside the block neither), or is no regular file: a pipe or
    a device could keep its reader waiting for ever, or never end.
    """
    if "\0" in str(path):
        raise error("no such file: a name has no zero bytes", path=path)
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error("is a pipe or a device: expected a regular file", path=path)
            yield file
    except FileNotFoundError as failure:
        raise error("no such file", path=path) from failure
    except OSError as failure:
        raise error(f"cannot be read: {failure.strerror or failure}", path=path) from failure


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bytes(path: str | Path, *, error: type[FileError], expected: str, max_bytes: int) -> bytes:
    """All bytes of a file. Raises `error` as `open_file` does, and for more than `max_bytes`: `expected` was else."""
    with open_file(path, error=error) as file:
        # no more than there is: the memory for what is asked for is taken at once
        data = file.read(min(max_bytes, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > max_bytes:
        raise error(f"more than {max_bytes} bytes: expected {expected}", path=path)
    return data


def read_text(path: str | Path, *, error: type[FileError], expected: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text of a file that a person may have written anywhere, as `decode_text` reads it. Raises `error`."""
    data = read_bytes(path, error=error, expected=expected, max_bytes=max_bytes)
    other, text = known_content(data), decode_text(data)
    if other is not None or "\0" in text:
        raise error(f"is {other or 'not a text file'}: expected {expected}", path=path)
    return text


def read_lines(path: str | Path, *, expected: str) -> list[str]:
    """The lines of a text without blanks around them, fit to be printed; no UTF-8 is read as Windows-1252.

    Raises DataError.
    """
    text = read_text(path, error=DataError, expected=expected).removeprefix("\ufeff")
    return [_printable(line.strip()) for line in re.split("\r\n|\r|\n", text)]


def _printable(line: str) -> str:
    if any("\udc80" <= character <= "\udcff" for character in line):  # bytes that are no UTF-8
        line = line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in line)


def decode_text(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32, told by its byte order mark or by the zero bytes of UTF-16.

    Newlines and a byte order mark of UTF-8 are kept, and through `surrogateescape` bytes that are no UTF-8.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    first, second = data[::2], data[1::2]
    for zeros, text, name in ((first, second, "utf-16-be"), (second, first, "utf-16-le")):
        if encoding is None and len(zeros) == len(text) < 2 * zeros.count(0) and 0 not in text:
            encoding = name
    return data.decode("utf-8", "surrogateescape") if encoding is None else data.decode(encoding, "replace")


def paths_in(file: BinaryIO, *, name: str, before_each: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Paths from a stream called `name`, one per line, as they come, of any bytes.

    Byte order marks are dropped, and blanks around a path where no file has that very name; a list in UTF-16 is read to
    its end first. Raises UsageError for a line that is longer than any path.
    """
    while True:
        before_each()
        line = file.readline(_MAX_LINE_BYTES)
        if not line:
            return
        if len(line) == _MAX_LINE_BYTES:
            raise UsageError(f"{len(line)} bytes without a newline on {name}: expected one path per line")
        if b"\0" in line:  # paths hold none, UTF-16 does
            line = decode_text(line + file.read(MAX_TEXT_BYTES)).encode("utf-8", "surrogateescape")
        for part in line.splitlines():
            path = os.fsdecode(part.removeprefix(codecs.BOM_UTF8))
            path = path if os.path.lexists(path) else path.strip()
            if path:
                yield path


def known_content(data: bytes) -> str | None:
    """What a file is that begins with `data`, where that is often found in the place of another, for an error."""
    start = data[:64].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next((name for beginning, name in _BEGINNINGS.items() if start.startswith(beginning)), None)


def named_by(path: Path, target: str) -> Path:
    """The file that `target` in the file `path` means: seen from the working folder, from that file's, or from the one
    above, as in darknet's own checkout, where cfg/ lies beside data/.
    """
    places = [Path(target), path.parent / target, path.parent / os.pardir / target]
    return next((place for place in places if os.path.exists(place)), places[0])  # noqa: PTH110


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends without an error.

    The folder must exist. An existing `path` is replaced and keeps its permissions; a symbolic link keeps pointing
    where it did, and the file that it names is replaced. Raises FileError for what cannot be written, as a folder, a
    pipe or a device.
    """
    target = _target(path)
    temporary = _aside(target.parent)
    try:
        with _open_aside(temporary) as file:
            yield file
            file.flush()
            if not temporary.exists():
                _give_name(file, temporary)
        with suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: Path, *, sources: Iterable[str | Path] = ()) -> Path:
    """`path`, if it could be written: asked before hours of work, not after.

    Raises FileError, and UsageError where that is one of `sources`, which are read or written besides.
    """
    target = _target(path)
    for source in sources:
        if _is_at(target, source):
            raise UsageError(f"{path} would replace {source}: expected another name")
    _try_to_write(target.parent, path)
    return path


def _is_at(target: Path, source: str | Path) -> bool:
    with suppress(OSError, ValueError):  # a name with a NUL is no file's
        return os.path.realpath(source) == str(target) or (target.exists() and target.samefile(source))
    return False


def check_folder(path: Path) -> Path:
    """`path`, if it is a folder in which files could be written. Raises FileError."""
    if not path.is_dir():
        raise FileError(f"is {'no folder' if path.exists() else 'not there'}: expected a folder", path=path)
    _try_to_write(path, path)
    return path


def _try_to_write(folder: Path, path: Path) -> None:
    """Write a block that is gone again, which a full or a read-only disk does not let happen. Raises FileError, for
    `path`.
    """
    temporary = _aside(folder)
    try:
        with _open_aside(temporary) as file:
            file.write(bytes(_BLOCK_BYTES))
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _target(path: str | Path) -> Path:
    """The file that `path` means, if one could be there: in a folder, and where no folder, pipe or device is, in whose
    place it would come. Raises FileError.
    """
    if "\0" in str(path):
        raise FileError("cannot be written: a name has no zero bytes", path=path)
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
        missing = next((folder for folder in (Path(path).parent, target.parent) if not folder.is_dir()), None)
    except OSError as error:  # a name that is too long, for instance
        raise _refusal(path, error) from error
    if not target.name or stat.S_ISDIR(mode):
        raise FileError("cannot be written: is a folder; expected a file's name", path=path)
    if not stat.S_ISREG(mode):
        raise FileError("cannot be written: is a pipe or a device; expected a regular file or a new name", path=path)
    if missing is not None:
        found = "not a folder" if missing.exists() else "no such folder"
        raise FileError(f"{found}: {missing}; make it first", path=path)
    return target


def _refusal(path: str | Path, error: OSError) -> FileError:
    advice = "expected a folder where you may write, on a disk with room"
    return FileError(f"cannot be written: {error.strerror or error}; {advice}", path=path)


def _aside(folder: Path) -> Path:
    return folder / f".{uuid.uuid4().hex}.tmp"


def _open_aside(temporary: Path) -> BinaryIO:
    """A new file, with the permissions that the umask allows and, on Linux, without a name: a kill leaves nothing."""
    if hasattr(os, "O_TMPFILE") and _DESCRIPTORS.is_dir():
        with suppress(OSError):  # not on every file system
            return os.fdopen(os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    return temporary.open("xb")


def _give_name(file: BinaryIO, path: Path) -> None:
    """Link a file that has no name to a new one, or a copy of it where the file system does not do that."""
    try:
        os.link(_DESCRIPTORS / str(file.fileno()), path, src_dir_fd=file.fileno(), follow_symlinks=True)
    except OSError:
        file.seek(0)
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy)


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path`, whole or not at all; text is encoded as UTF-8 with its newlines kept as they are.

    Undecodable bytes that were read with `surrogateescape` come out as they went in. Raises FileError.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with atomic_writer(path) as file:
        file.write(data)
