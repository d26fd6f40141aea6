"""The file that answers are kept in: one line of JSON per image, whole after Ctrl-C and kill -9, which can be gone on
with; a Parquet file is made of the lines when all are there.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clprune.closing import Closing
from clprune.distributed.sources import PARQUET_SUFFIX
from clprune.errors import FileError, UsageError, shown
from clprune.files import atomic_writer, check_writable, open_file
from clprune.picture import ImageFile

if TYPE_CHECKING:
    from clprune.container.model import Model

_LINES_SUFFIX, _UNFINISHED_SUFFIX = ".jsonl", ".unfinished.jsonl"

#: An answer is shorter.
_MOST_LINE_BYTES = 1 << 26

#: Bytes that are read at once for a digest.
_CHUNK_BYTES = 1 << 20

#: Lines that become a row group of a Parquet file.
_GROUP_LINES = 65536


class AnswerFile(Closing):
    """Lines of JSON objects with an `image`, added one at a time; use it as a context manager, and `finish` at last.

    Raises UsageError for another suffix than `.jsonl` and `.parquet`, FileError for a file that is there already unless
    `resume`, that holds anything else or answers of another model or other options, or cannot be written.
    """

    def __init__(self, path: str | Path, *, by: str, resume: bool = False) -> None:
        """Open the file, new or, with `resume`, to go on after its last whole line.

        Every line says `by` what it was written (`written_by`): what goes on is of the same. With a Parquet file in
        view, the lines are kept in a file beside it until then.
        """
        self._by = by
        self._target = check_writable(Path(path))
        if self._target.suffix not in (_LINES_SUFFIX, PARQUET_SUFFIX):
            raise UsageError(f"{path}: expected FILE{_LINES_SUFFIX} or FILE{PARQUET_SUFFIX}")
        is_parquet = self._target.suffix == PARQUET_SUFFIX
        #: Where lines are kept until `finish`.
        self.path = Path(f"{self._target}{_UNFINISHED_SUFFIX}") if is_parquet else self._target
        for found in {check_writable(self.path), self._target}:
            if found.exists() and found != self.path:
                raise FileError("is there already, and whole: remove it", path=found)
            if found.exists() and not resume:
                raise FileError("is there already: go on with it by --resume, or remove it", path=found)
        try:
            self._file = io.FileIO(self.path, "a+")
        except OSError as error:
            raise FileError(f"cannot be written: {error.strerror}", path=self.path) from error
        self._is_finished = False
        try:
            self._lock()
            self._digests, self._counts = self._answered()
            #: Images that had an answer before.
            self.answered = int(self._counts.sum())
            if is_parquet and self.answered:
                self._schema()  # what makes no table is known now, not at last
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        """Two that go on with a file would answer the same images. Raises FileError while another one does."""
        try:
            import fcntl
        except ImportError:  # not on every system
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system gives it back, however the process ends
        except BlockingIOError as error:
            raise FileError("another process adds answers to it: wait for its end", path=self.path) from error
        except OSError:  # on some file systems of a network there are none
            return

    def _answered(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Of all images that have a line the digests, rising, and how often each: 16 bytes an image. A torn last line
        is cut off.
        """
        digests, end = array("Q"), 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_MOST_LINE_BYTES), b""), 1):
                if not line.endswith(b"\n") and len(line) < _MOST_LINE_BYTES:
                    break  # torn
                try:
                    answer = json.loads(line)
                    digests.append(_digest(answer["image"]))
                    by = answer.get("by")
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                    text = "expected an answer, an object with an image"
                    raise FileError(text, path=self.path, line=number) from error
                if by != self._by and (problem := _other_writer(by, self._by)):
                    raise FileError(problem, path=self.path, line=number)
                end += len(line)
        self._file.truncate(end)
        return np.unique(np.array(digests, np.uint64), return_counts=True)

    def left(self, images: Iterable[ImageFile]) -> Iterator[ImageFile]:
        """Those without an answer yet."""
        for image in images:
            place = int(np.searchsorted(self._digests, np.uint64(_digest(shown_path(image)))))
            is_known = place < len(self._digests) and self._digests[place] == _digest(shown_path(image))
            if is_known and self._counts[place]:
                self._counts[place] -= 1
            else:
                yield image

    def write(self, answer: Mapping[str, Any]) -> None:
        """Add a line."""
        line = memoryview(json.dumps({**answer, "by": self._by}, ensure_ascii=False).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise FileError(f"cannot be written: {error.strerror}", path=self.path) from error

    def finish(self) -> None:
        """Make of the lines what was asked for."""
        self._is_finished = True
        if self.path == self._target:
            return
        from pyarrow import parquet

        schema = self._schema()
        with self._table_errors(), atomic_writer(self._target) as file, parquet.ParquetWriter(file, schema) as writer:
            for table in self._tables(schema):
                writer.write_table(table)
        self.path.unlink()

    def _schema(self) -> Any:
        """pyarrow's, of a table of all lines. Raises FileError for lines that make none."""
        import pyarrow

        schema = pyarrow.schema([])
        with self._table_errors():
            for table in self._tables():
                schema = pyarrow.unify_schemas([schema, table.schema], promote_options="permissive")
        return schema

    @contextmanager
    def _table_errors(self) -> Iterator[None]:
        """What pyarrow raises for lines of several kinds, as one of a file that somebody else wrote into."""
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
            text = f"its lines make no table ({shown(str(error))}): expected answers of this command alone; remove it"
            raise FileError(text, path=self.path) from error

    def _tables(self, schema: Any = None) -> Iterator[Any]:
        """The lines as tables of pyarrow, of `schema` or of what is in each."""
        import pyarrow

        with self.path.open("rb") as lines:
            while rows := [json.loads(line) for line in itertools.islice(lines, _GROUP_LINES)]:
                names = schema.names if schema else dict.fromkeys(name for row in rows for name in row)
                yield pyarrow.table({name: [row.get(name) for row in rows] for name in names}, schema=schema)

    def close(self) -> None:
        """Close the file. One without a line is removed unless it is finished: it would stand in the next try's way."""
        if not self._is_finished and not self._file.closed and not self._file.seek(0, os.SEEK_END):
            self.path.unlink(missing_ok=True)
        self._file.close()


def written_by(model: Model, settings: Mapping[str, Any]) -> str:
    """What answers are of, in three words: the cfg's name, a digest of the model's files with its class names, and one
    of the options that change answers. Raises FileError.
    """
    of_files, names = hashlib.sha256(), model.names_file
    for path in (*model.files, *([] if names is None else [names])):
        with open_file(path, error=FileError) as file:
            while chunk := file.read(_CHUNK_BYTES):
                of_files.update(chunk)
    of_options = hashlib.sha256(repr((model.dialect.name, sorted(settings.items()))).encode())
    name = "_".join(shown_path(model.path.name).split())
    return f"{name} {of_files.hexdigest()[:12]} {of_options.hexdigest()[:12]}"


def _other_writer(found: object, wanted: str) -> str:
    """Why a line with this `by` is not gone on from; empty where only the cfg has another name now."""
    words, expected = found.split() if isinstance(found, str) else [], wanted.split()
    advice = "or name another --out"
    if len(words) != len(expected):
        return f"it does not say which model answered: remove the file, {advice}"
    if words[1:] == expected[1:]:
        return ""
    if words[1] != expected[1]:
        those, these = shown(" ".join(words[:2])), " ".join(expected[:2])
        return f"an answer of another model ({those}; this one is {these}): go on with that model, {advice}"
    return f"an answer of this model with other options than now: give the same, {advice}"


def shown_path(image: ImageFile) -> str:
    """An image's path as answers have it: bytes that are no text become question marks."""
    return os.fsencode(image).decode("utf-8", "replace")


def _digest(image: str) -> int:
    """The same for two paths only by a chance of 2^-64."""
    return int.from_bytes(hashlib.blake2b(image.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
