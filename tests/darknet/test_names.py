"""Names files and .data files."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.names import read_data_file, read_names
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
    for read in (read_names, read_data_file):
        with pytest.raises(DataError, match="no such file"):
            read(tmp_path / "missing")
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path)


def test_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cfg"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.names").write_text("x\n")
    path = folder / "a.data"
    path.write_text("# mine\nclasses = 1000\r\ntrain = /lists/train.list\nbackup =\nnames=data/a.names\ntop=5\n")
    monkeypatch.chdir(tmp_path)
    data = read_data_file(path)
    assert (data.names, data.top, data.classes) == (folder / "data" / "a.names", 5, 1000)
    assert data.options["train"] == "/lists/train.list"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.names").write_text("y\n")
    data = read_data_file(path)
    assert data.names == Path("data/a.names")
    assert read_names(data.names) == ("y",)


def test_labels_stand_in_for_names_and_blanks_may_be_in_paths(tmp_path: Path) -> None:
    (tmp_path / "my labels.list").write_text("x\n")
    (tmp_path / "names.list").write_text("y\n")
    path = tmp_path / "a.data"
    path.write_text("labels = my labels.list\n")
    data = read_data_file(path)
    assert (data.names, data.top, data.classes) == (tmp_path / "my labels.list", 1, None)
    path.write_text("labels = my labels.list\nnames = na mes.list\n")
    assert read_data_file(path).names == tmp_path / "names.list"
    path.write_text("classes=2\n")
    assert read_data_file(path).names is None


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("classes=2\nnames=missing.names\n", 2, "neither in the working folder nor in"),
        ("classes\n", 1, "expected key=value"),
        ("top=5\ntop=5\n", 2, "given twice, first in line 1"),
        ("top=five\n", 1, "top=five: expected a whole number"),
        ("\nclasses=0\n", 2, "at least 1"),
    ],
)
def test_broken_data_files(tmp_path: Path, content: str, line: int, words: str) -> None:
    path = tmp_path / "a.data"
    path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_data_file(path)
    assert caught.value.line == line
