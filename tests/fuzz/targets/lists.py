"""Lists, names, and folders of pictures."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from PIL import Image

from clprune.cli.infer import lines_of_stdin
from clprune.darknet.names import read_names
from clprune.data import Split, load_data
from tests.fuzz.mutation import mutated_json
from tests.fuzz.targets.target import Target

if TYPE_CHECKING:
    from clprune.opencl import Session


def _list_seeds(folder: Path) -> None:
    (folder / "a.names").write_text("red\ngreen\nblue\n")
    (folder / "utf16.names").write_bytes("red\r\ngrün\r\n".encode("utf-16"))
    (folder / "bom.names").write_bytes(b"\xef\xbb\xbfone \r\ntwo\r\n")
    (folder / "a.data").write_text("classes = 3\nnames = a.names\nbackup = backup/\n")


def _handle_list(path: Path, session: Session | None) -> str:
    """As a list on standard input, and as a file of names."""
    terminal, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    try:
        paths = list(lines_of_stdin())
    finally:
        sys.stdin = terminal
    assert not any("\n" in item or not item for item in paths), "a path of several lines, or an empty one"
    names = read_names(path)
    assert all(name.isprintable() for name in names), "a name that cannot be printed"
    return f"{min(len(paths), 3)} {min(len(names), 3)}"


def _folder_seeds(folder: Path) -> None:
    for name, files in {
        "plain": ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.jpg"],
        "splits": ["train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/1.png", "test/c/2.png", ".git/x.png"],
        "numbers": [f"{number}/{file}.png" for number in range(11) for file in range(5)],
        "odd": ["__MACOSX/a/1.png", "a/._1.png", "a/1.jfif", "a/2.txt", "Train/a/1.png", "images/a/broken.png"],
        "lines": ["train.txt", "val.txt", "labels.csv", "1.png", "2.png"],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(files))


@cache
def _small_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 5), (255, 128, 0)).save(file, "PNG")
    return file.getvalue()


def _handle_folder(path: Path, session: Session | None) -> str:
    """A folder tree of those names, in which what has no suffix of a picture is text."""
    try:
        names = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "no list"
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as name:
        folder = Path(name)
        for item in names if isinstance(names, list) else []:
            _make_file(folder, str(item))
        shapes = []
        for split in get_args(Split):
            data = load_data(f"folder:{folder}", split=split, height=4, width=4)
            assert len(data.images[:3]) == min(len(data.images), 3), "not as many images as asked for"
            assert data.labels.max(initial=0) < len(data.class_names), "a label without a name"
            shapes.append(f"{len(data.class_names)} {len(data.labels)}")
        return " ".join(shapes)


def _make_file(folder: Path, name: str) -> None:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if not parts:
        return
    file = folder.joinpath(*parts)
    with suppress(OSError, ValueError):  # names that no file can have
        file.parent.mkdir(parents=True, exist_ok=True)
        content = (
            b"broken" if "broken" in name else _small_picture() if file.suffix else name.encode("utf-8", "replace")
        )
        file.write_bytes(content)


TARGETS = [
    Target(name="lists", suffix=".names", seeds=_list_seeds, handle=_handle_list),
    Target(name="folders", suffix=".json", seeds=_folder_seeds, handle=_handle_folder, mutate=mutated_json),
]
