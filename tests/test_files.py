"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clprune.errors import FileError
from clprune.files import atomic_writer, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_bytes_and_text_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"\x00\xff")
    write_atomically(tmp_path / "b", "é\r\nx\n\udce9")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == b"\xc3\xa9\r\nx\n\xe9"
    assert names(tmp_path) == ["a", "b"]


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_the_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_writer(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"


def test_an_interrupt_cleans_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_writer(tmp_path / "a"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_errors_of_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written: No such file"):
        write_atomically(tmp_path / "missing" / "a", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="cannot be written: Is a directory"):
        write_atomically(tmp_path / "folder", "x")
    assert names(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and symbolic links as POSIX has them")
def test_permissions_and_symbolic_links_stay(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    (tmp_path / "a").chmod(0o604)
    (tmp_path / "link").symlink_to("a")
    write_atomically(tmp_path / "link", "y")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "y"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o604
