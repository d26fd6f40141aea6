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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_names_in_any_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "a.names"
    path.write_bytes(newline.join(["café ", "tea", ""]).encode(encoding))
    assert read_names(path) == ("café", "tea")


def test_one_line_in_another_encoding_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.names"
    path.write_bytes("ñandú\n犬\n".encode() + b"caf\xe9\n\x1b[2Jred\n")
    assert read_names(path) == ("ñandú", "犬", "café", "\ufffd[2Jred")


@pytest.mark.parametrize("key", ["names", "labels"])
def test_a_data_file_leads_to_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg").mkdir()
    for folder in (tmp_path, tmp_path / "cfg"):
        (folder / f"{folder.name}.names").write_text(f"of {folder.name}\n")
    for name in (f"{tmp_path.name}.names", "cfg.names"):  # seen from here, and from beside the file
        for file in ("cfg/a.data", "cfg/a.txt"):
            Path(file).write_text(f"classes=2\n{key} = {name}\n{key}=other\n\n".replace("# names=none\n", ""))
            assert read_names(file) == (f"of {name.removesuffix('.names')}",)


def test_what_a_data_file_may_lack(tmp_path: Path) -> None:
    path = tmp_path / "a.data"
    path.write_text("classes=2\nnames=missing.names\n")
    with pytest.raises(DataError, match=r"missing\.names: no such file"):
        read_names(path)
    path.write_text("classes=2\nvalid=list\n")
    with pytest.raises(DataError, match=r"has no names= or labels=: expected a \.data file that names"):
        read_names(path)
    (tmp_path / "a.names").write_text("names=good\nred\n")  # a name may look like an option
    assert read_names(tmp_path / "a.names") == ("names=good", "red")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no names"), (b"\n \n", "no names"), (b"a\0b", "not a text"), (b"<html>", "HTML page")]
)
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
