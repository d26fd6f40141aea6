"""Names files."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.names import read_names
from clprune.errors import DataError


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "a.names"
    path.write_bytes("\ufeffkit fox\r\nEnglish setter \n\nñandú\n\n\n".encode())
    assert read_names(path) == ("kit fox", "English setter", "", "ñandú")


def test_names_in_another_encoding_still_read(tmp_path: Path) -> None:
    path = tmp_path / "a.names"
    path.write_bytes(b"caf\xe9\ntea")
    assert read_names(path) == ("caf\ufffd", "tea")


@pytest.mark.parametrize(("content", "words"), [(b"", "no names"), (b"\n \n", "no names"), (b"a\0b", "not a text")])
def test_what_is_no_names_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.names"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_names(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_names(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot be read"):
        read_names(tmp_path)
