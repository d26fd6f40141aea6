"""Fonts that have the letters of a text: Pillow's own has little more than ASCII."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

#: Files of Linux's, macOS's and Windows' fonts with many letters; Pillow looks where the system keeps them.
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
    """Pillow's own font (None) and the files of `_FILES` that are here."""
    return (None, *_found())


def _found() -> Iterator[str]:
    for name in _FILES:
        try:
            yield str(ImageFont.truetype(name).path)
        except OSError:
            continue


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
