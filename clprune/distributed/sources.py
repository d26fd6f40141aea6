"""Where images come from: folders, lists of paths and Parquet files, read as they are needed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clprune.data.folder import natural_order
from clprune.dataset import DataWarning
from clprune.errors import DataError
from clprune.files import named_by, open_file, paths_in
from clprune.picture import IMAGE_SUFFIXES, ImageBytes, ImageFile

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

LIST_SUFFIXES = (".txt", ".list", ".lst")
PARQUET_SUFFIX = ".parquet"

#: The name of a column, or of a struct and of its field.
Column = tuple[str, ...]

#: Rows of a Parquet file that are held at once, of paths and of image files, and bytes of these where a row has less.
_ROWS_OF_PATHS, _ROWS_OF_IMAGES, _BYTES_OF_IMAGES = 4096, 64, 1 << 26

#: A column that unpacks to more than so many times its bytes in the file is no images, which hardly shrink: its pages,
#: each of which is unpacked whole, could be of any size. Smaller ones may.
_MOST_GROWTH, _LEAST_BOUNDED_BYTES = 64, 1 << 28


def as_images(source: str | Path | Iterable[ImageFile]) -> Iterable[ImageFile]:
    """A path as `images_in` reads it; anything else as it is."""
    return images_in([source]) if isinstance(source, (str, Path)) else source


def images_in(sources: Iterable[str | Path]) -> Iterator[ImageFile]:
    """The images of all sources, in order, no more of them held than one folder's names or a few rows.

    A folder stands for the images in it and below it, in the order of their names; a `.txt` file for the paths in it,
    one per line, seen from the working folder or else from that file's; a `.parquet` file for its rows, whose first
    binary column (also within a struct) holds image files, or else whose first text column their paths; a row without
    either is an image that cannot be read. Anything else is an image. Raises DataError.
    """
    for source in map(Path, sources):
        if source.is_dir():
            yield from _in_folder(source)
        elif source.suffix.lower() in LIST_SUFFIXES:
            with open_file(source, error=DataError) as file:
                yield from (str(named_by(source, path)) for path in paths_in(file, name=str(source)))
        elif source.suffix.lower() == PARQUET_SUFFIX:
            yield from _in_parquet(source)
        else:
            yield str(source)


def count_images(sources: Iterable[str | Path]) -> int:
    """How many images `images_in` would give, by a quick look at names, newlines and rows. Raises DataError."""
    count = 0
    for source in map(Path, sources):
        if source.is_dir():
            walk = os.walk(source, onerror=partial(_leave_out, folder=source, is_told=False))
            count += sum(_is_image(name) for _, _, names in walk for name in names)
        elif source.suffix.lower() in LIST_SUFFIXES:
            with open_file(source, error=DataError) as file:
                count += sum(not line.isspace() for line in file)
        elif source.suffix.lower() == PARQUET_SUFFIX:
            with _parquet(source) as table:
                count += table.metadata.num_rows
        else:
            count += 1
    return count


def seen_from(folder: str, images: Sequence[ImageFile]) -> list[ImageFile]:
    """The images with relative paths seen from `folder`."""
    return [image if isinstance(image, ImageBytes) else str(Path(folder, image)) for image in images]


def _leave_out(error: OSError, *, folder: Path, is_told: bool = True) -> None:
    """By itself `os.walk` would, without a word, and `folder` itself, too. Raises DataError for that."""
    reason = f"cannot be read: {error.strerror}"
    if Path(error.filename) == folder:
        raise DataError(reason, path=folder) from error
    if is_told:
        warnings.warn(DataWarning(f"{error.filename}: {reason}; what is in it is left out"), stacklevel=2)


def _in_folder(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder, onerror=partial(_leave_out, folder=folder)):
        folders.sort(key=natural_order)
        yield from (os.path.join(place, name) for name in sorted(names, key=natural_order) if _is_image(name))  # noqa: PTH118 -- a million of them


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 -- likewise


def _in_parquet(path: Path) -> Iterator[ImageFile]:
    with _parquet(path) as table:
        data, names = _columns(table.schema_arrow, path)
        columns = [".".join(column) for column in (data, names) if column is not None]
        _check_growth(table.metadata, columns, path)
        rows, number = _ROWS_OF_PATHS if data is None else _rows_of_images(table.metadata), 0
        for batch in table.iter_batches(rows, columns=columns):
            parts = {column: _column(batch, column) for column in (data, names) if column is not None}
            for row in range(batch.num_rows):
                name = None if names is None else _text(parts[names][row])
                content = None if data is None else parts[data][row].as_py()
                if content is None and name:
                    yield name
                else:  # of a row with neither the answer is that there is no image
                    yield ImageBytes(path=name or f"{path}:{number}", data=content or b"")
                number += 1


def _check_growth(metadata: parquet.FileMetaData, columns: Sequence[str], path: Path) -> None:
    """Raise DataError for a file that takes far more memory than it has bytes."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            if column.path_in_schema in columns and unpacked > max(_LEAST_BOUNDED_BYTES, _MOST_GROWTH * packed):
                raise DataError(
                    f"column {column.path_in_schema}: {packed} bytes unpack to {unpacked}: expected at most "
                    f"{_MOST_GROWTH} times as many, or smaller row groups",
                    path=path,
                )


def _rows_of_images(metadata: parquet.FileMetaData) -> int:
    """So many that those with the largest images are no more than the bytes that may be held.

    Of a column with a dictionary each row may be all of it.
    """
    largest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            has_dictionary = any("DICTIONARY" in encoding for encoding in column.encodings)
            rows = 1 if has_dictionary else max(group.num_rows, 1)
            largest = max(largest, column.total_uncompressed_size // rows)
    return max(1, min(_ROWS_OF_IMAGES, _BYTES_OF_IMAGES // largest))


def _column(batch: pyarrow.RecordBatch, names: Column) -> pyarrow.Array:
    column = batch.column(names[0])
    for name in names[1:]:
        column = column.field(name)
    return column


def _text(value: pyarrow.Scalar) -> str | None:
    """A path, which may be of bytes that are no text."""
    try:
        return value.as_py()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return os.fsdecode(getattr(value, "value", value).as_buffer().to_pybytes())  # that of a dictionary's is in it


def _columns(schema: pyarrow.Schema, path: Path) -> tuple[Column | None, Column | None]:
    """(the column of image files, that of paths)."""
    from pyarrow import types

    fields: list[tuple[Column, pyarrow.DataType]] = []
    for field in schema:
        inner = (
            [field.type.field(index) for index in range(field.type.num_fields)] if types.is_struct(field.type) else []
        )
        fields += [((field.name, one.name), one.type) for one in inner] or [((field.name,), field.type)]

    def first(*words: str) -> Column | None:
        """The first that holds what pyarrow calls one of these, be it each value once and numbers in its place."""
        for names, kind in fields:
            held = kind.value_type if types.is_dictionary(kind) else kind
            if str(held) in words:
                return names
        return None

    data, names = first("binary", "large_binary", "binary_view"), first("string", "large_string", "string_view")
    if data is None and names is None:
        found = ", ".join(f"{'.'.join(names)} ({kind})" for names, kind in fields) or "none"
        raise DataError(f"columns {found}: expected one of paths (text) or of image files (binary)", path=path)
    for one in (data, names):
        if one is not None and schema.names.count(one[0]) > 1:
            raise DataError(f"{schema.names.count(one[0])} columns {one[0]!r}: expected one", path=path)
    return data, names


@contextmanager
def _parquet(path: Path) -> Iterator[parquet.ParquetFile]:
    from pyarrow import ArrowException, parquet

    with open_file(path, error=DataError) as file:
        try:
            with parquet.ParquetFile(file) as table:
                yield table
        except (ArrowException, UnicodeDecodeError) as error:  # of a name in it
            raise DataError(f"cannot be read as Parquet: {' '.join(str(error).split())}", path=path) from error
