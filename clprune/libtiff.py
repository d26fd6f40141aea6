"""What libtiff, by which Pillow decodes TIFF files, says of one: it goes on where it can, and prints a line of its own.

Its function for that is `TIFFSetErrorHandler` (https://libtiff.gitlab.io/libtiff/functions/TIFFError.html).
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import _imaging

#: void handler(const char *module, const char *format, va_list values)
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


class _Said(threading.local):
    """By which part of libtiff errors were found, in the order of their coming; None while nobody asks."""

    modules: list[str] | None = None


_said = _Said()
_listening = threading.Lock()


@contextmanager
def errors_of_libtiff() -> Iterator[list[str]]:
    """Which parts of libtiff find an error while this thread decodes, such as "Fax4Decode", in place of its lines.

    Where Pillow hides its libtiff there are none, and the lines are printed.
    """
    _listen()
    modules: list[str] = []
    _said.modules = modules
    try:
        yield modules
    finally:
        _said.modules = None


def _listen() -> Any:
    """Take libtiff's errors, once for the process: a second handler would free the first, which libtiff still calls."""
    with _listening:
        return _handler()


@functools.cache
def _handler() -> Any:
    """What takes libtiff's errors from now on; those of other threads go on to where they went before.

    A library's symbols are looked up in those it is linked with, too. Returns what must live as long as libtiff.
    """
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        return None
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [_Handler]
    earlier: list[Any] = []

    def handle(module: bytes | None, text: bytes, values: int) -> None:
        if _said.modules is not None:
            _said.modules.append((module or b"libtiff").decode("ascii", "replace"))
        elif earlier:
            earlier[0](module, text, values)

    handler = _Handler(handle)
    address = set_handler(handler)
    if address:
        earlier.append(_Handler(address))
    return handler
