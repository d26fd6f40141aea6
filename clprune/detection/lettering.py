"""Fonts that have the letters of a text: Pillow's own has little more than ASCII."""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

#: Files of Linux's, macOS's and Windows' fonts with many letters.
_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "arial.ttf",
    "msyh.ttc",
)
#: A character that no font has: what is drawn for it stands for every other that a font lacks.
_LACKING = "\U0010ffff"


def font_for(text: str, size: int) -> Font | None:
    """The first font that has all letters of `text`, None where none has; `size` in pixels."""
    return next((_open(name, size) for name in _names() if all(_has(name, letter) for letter in text)), None)


def plain(text: str) -> str:
    """`text` in the letters that every font has, without accents; empty where it has none of them."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if _has(None, letter)).strip()


@functools.cache
def _names() -> tuple[str | None, ...]:
    """Pillow's own font (None) and the paths of those of `_FILES` that the system has."""
    found: dict[str, Path] = {}
    for path in _installed():
        if path.name in _FILES:
            found.setdefault(path.name, path)
    return (None, *(str(found[name]) for name in _FILES if name in found and _opens(found[name])))


def _installed() -> Iterator[Path]:
    """The files in the system's and the user's folders of fonts.

    Pillow, given a name, looks in the working folder first, whose files may be anybody's.
    """
    for folder in _folders():
        for place, _, files in os.walk(folder) if folder.is_absolute() else ():
            yield from (Path(place, name) for name in files)


def _folders() -> list[Path]:
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", ""), "fonts")]
    if sys.platform == "darwin":
        return [Path("/Library/Fonts"), Path("/System/Library/Fonts"), Path("~/Library/Fonts").expanduser()]
    own = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    others = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(folder, "fonts") for folder in (own, *others.split(":"))]


def _opens(path: Path) -> bool:
    try:
        ImageFont.truetype(path)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=64)
def _open(name: str | None, size: int) -> Font:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


@functools.lru_cache(maxsize=4096)
def _has(name: str | None, letter: str) -> bool:
    if letter.isascii():
        return letter.isprintable()
    font = _open(name, 16)
    drawn, lacking = (font.getmask(each) for each in (letter, _LACKING))
    return (drawn.size, bytes(drawn)) != (lacking.size, bytes(lacking))
