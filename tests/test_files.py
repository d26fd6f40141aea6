"""Files are written whole or not at all."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from clprune.errors import FileError
from clprune.files import atomic_writer, check_writable, decode_text, open_file, read_bytes, write_atomically


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path(os.devnull)):
        for write in (partial(write_atomically, content="x"), check_writable):
            with pytest.raises(FileError, match="cannot be written: is a pipe or a device"):
                write(path)
    assert (tmp_path / "pipe").is_fifo() and Path(os.devnull).is_char_device()


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
    with pytest.raises(FileError, match=r"a: no such folder: .*missing; make it first"):
        write_atomically(tmp_path / "missing" / "a", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="cannot be written: is a folder"):
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


def test_what_is_opened_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\0y")
    with open_file(tmp_path / "a", error=FileError) as file:
        assert file.read() == b"x\0y"
    assert read_bytes(tmp_path / "a", error=FileError, expected="three bytes", max_bytes=3) == b"x\0y"
    with pytest.raises(FileError, match="a: more than 2 bytes: expected two bytes"):
        read_bytes(tmp_path / "a", error=FileError, expected="two bytes", max_bytes=2)
    for path, words in (("b", "no such file"), (".", "cannot be read: Is a directory"), ("a\0", "no such file")):
        with pytest.raises(FileError, match=words), open_file(tmp_path / path, error=FileError):
            pass
    with pytest.raises(FileError, match="cannot be read: gone"), open_file(tmp_path / "a", error=FileError):
        raise OSError("gone")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices as POSIX has them")
@pytest.mark.parametrize("name", ["pipe", "/dev/null", "/dev/zero", "/dev/tty", "link"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    words = "is a pipe or a device: expected a regular file|cannot be read: No such device"
    with pytest.raises(FileError, match=words), open_file(tmp_path / name, error=FileError):
        pass


@pytest.mark.parametrize("text", ["", "a", "ab\n", "é\n", "日本\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_decoding(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def test_decoding_without_a_mark() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        assert decode_text("caf\xe9 \u65e5\n".encode(encoding)) == "caf\xe9 \u65e5\n"
    assert decode_text(b"caf\xe9\n") == "caf\udce9\n"
    assert decode_text(b"a\0b") == "a\0b"
    assert decode_text(b"\xff\xfea\0b") == "a\ufffd"  # cut short


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_a_killed_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_writer(tmp_path / "a") as file:
        file.write(b"half")
        file.flush()
        assert names(tmp_path) == []
    monkeypatch.setattr(os, "link", refuse)  # as some file systems do: a copy does as well
    write_atomically(tmp_path / "b", b"whole")
    monkeypatch.delattr(os, "O_TMPFILE")
    write_atomically(tmp_path / "c", b"whole")
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [b"half", b"whole", b"whole"]


def refuse(*_: object, **__: object) -> None:
    raise PermissionError


def test_long_values_are_cut_short_in_an_error() -> None:
    text = str(FileError("x" * 5000, path="a.cfg"))
    assert text == "a.cfg: " + "x" * 1000 + "..."
    assert str(FileError("missing", path="x" * 5000)) == "x" * 1000 + "...: missing"
