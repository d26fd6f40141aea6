"""Picture files: decoded within limits, and only those pixels turned into numbers that are asked for.

A decoded picture takes up to 4 bytes a pixel, its float32 planes 12: those of a large one are never made.
"""

from __future__ import annotations

import io
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clprune.errors import ImageError, UsageError
from clprune.files import known_content, open_file
from clprune.libtiff import errors_of_libtiff

FloatArray = NDArray[np.float32]
Indices = NDArray[np.intp]
Resize = Literal["letterbox", "crop", "stretch"]

#: How files are called that hold pictures.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".webp", ".tif",
    ".tiff",
)  # fmt: skip

#: What a file may hold, whatever its suffix, in Pillow's words: others are handed to programs (EPS is PostScript, which
#: Ghostscript would run) or are no pictures. Pillow reads AVIF from 11.3 on.
_FORMATS = [
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "PPM",
    "TIFF",
    "WEBP",
    "DIB",
    "ICO",
    "TGA",
    "JPEG2000",
    "QOI",
    "PCX",
    "SGI",
    "PSD",
]
_FORMATS += ["AVIF"] if tuple(map(int, PIL.__version__.split(".")[:2])) >= (11, 3) else []

#: How an image of another shape is made to fit; darknet's `predict` letterboxes, older and forked ones crop.
RESIZE_MODES: tuple[Resize, ...] = ("letterbox", "crop", "stretch")

#: Pixels beyond which Pillow, too, takes a picture for an attack; decoded they take 0.7 GB.
MAX_PIXELS = 178_956_970
#: Longer side over the shorter one: a strip thinner than this shows nothing at a network's size.
MAX_ASPECT_RATIO = 1000.0
#: Larger JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that is still larger than the network's input.
DRAFT_PIXELS = 1 << 26
#: Larger pictures are converted row by row, as rows are needed.
WHOLE_PIXELS = 1 << 24

#: Larger files are not read at once before they are decoded.
WHOLE_BYTES = 1 << 26

#: Held while one of those is decoded, so that threads do not have many of them at once.
_GIANTS = threading.Lock()

#: What Pillow's many decoders raise on broken files.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, SystemError, struct.error, zlib.error, Image.DecompressionBombError, MemoryError,
)  # fmt: skip

# What is wrong with a file is in our error; without a handler Python would print Pillow's own line, too.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_ORIENTATION = 0x0112
#: EXIF orientation -> (rows and columns change places, stored rows run upwards, stored columns run to the left).
_TURNS = {
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, True, False), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip

#: Where Pillow's 16 bits are the file's, or are scaled to them.
_DEEP_FORMATS = ("PNG", "PPM", "TIFF", "JPEG2000")
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # of TIFF
_UNIT_VALUES: FloatArray = (np.arange(256) / 255.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How image files are read: `resize` makes them fit, those of more pixels or more of a strip are refused.

    `strict` makes a file of a data set that cannot be read an error; else it is left out, which a warning says.
    """

    resize: Resize = "letterbox"
    max_pixels: int = MAX_PIXELS
    max_aspect_ratio: float = MAX_ASPECT_RATIO
    strict: bool = False

    def __post_init__(self) -> None:
        if self.resize not in RESIZE_MODES:
            raise UsageError(f"resize {self.resize!r}: expected one of {', '.join(RESIZE_MODES)}")
        if self.max_pixels < 1 or not self.max_aspect_ratio >= 1:
            raise UsageError(
                f"max_pixels {self.max_pixels}, max_aspect_ratio {self.max_aspect_ratio}: expected at least 1 each"
            )


@dataclass(frozen=True, kw_only=True)
class ImageBytes:
    """The content of an image file that is in memory; `path` is what it is called."""

    path: str
    data: bytes = field(repr=False)

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


#: A path, or the bytes that a file would hold.
ImageFile: TypeAlias = "str | Path | ImageBytes"


class Picture:
    """A decoded image file, as the camera's orientation (EXIF) has it upright."""

    def __init__(self, image: Image.Image, *, orientation: int, path: ImageFile) -> None:
        self._image = image
        self._path = path
        self._white = _white_level(image, path=path)
        self._swapped, self._upwards, self._leftwards = _TURNS[orientation]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        width, height = self._image.size
        return (width, height) if self._swapped else (height, width)

    def pick(self, rows: Indices, columns: Indices, *, channels: int) -> FloatArray:
        """The pixels where `rows` `[n]` and `columns` `[m]` meet: float32 `[channels, n, m]` in 0..1.

        RGB for 3 channels, luma (ITU-R 601) for 1. Raises ImageError.
        """
        first, second = (columns, rows) if self._swapped else (rows, columns)
        width, height = self._image.size
        with _named_errors(self._path):
            pixels = self._stored(
                height - 1 - first if self._upwards else first,
                width - 1 - second if self._leftwards else second,
                mode="L" if channels == 1 else "RGB",
            )
        planes = np.atleast_3d(pixels).transpose((2, 1, 0) if self._swapped else (2, 0, 1))
        if self._white is None:
            values: FloatArray = _UNIT_VALUES[np.ascontiguousarray(planes)]
            return values
        if not np.all(np.isfinite(planes)):
            raise ImageError("has 32-bit floats that are not finite: expected 0 to 1 (white)", path=self._path)
        grey = (planes.astype(np.float32) / self._white).clip(0, 1)
        return np.ascontiguousarray(np.broadcast_to(grey, (channels, *grey.shape[1:])))

    def pixels(self) -> NDArray[np.uint8]:
        """All of it, uint8 `[H, W, 3]`, red, green, blue. Raises ImageError."""
        height, width = self.size
        values = self.pick(np.arange(height), np.arange(width), channels=3).transpose(1, 2, 0)
        return np.ascontiguousarray(np.rint(values * np.float32(255)).astype(np.uint8))

    def _stored(self, rows: Indices, columns: Indices, *, mode: str) -> NDArray[Any]:
        """`[n, m]` or `[n, m, 3]` as the file has rows and columns; in `mode` unless the picture is of deep grey."""

        def pixels(image: Image.Image) -> NDArray[Any]:
            if self._white is None:
                if image.mode == "P" and "transparency" in image.info:
                    image = image.convert("RGBA")
                image = image if image.mode == mode else image.convert(mode)
            return np.asarray(image)

        width, height = self._image.size
        if width * height <= WHOLE_PIXELS:
            return pixels(self._image)[rows[:, None], columns]
        needed, places = np.unique(rows, return_inverse=True)
        strips = [pixels(self._image.crop((0, int(row), width, int(row) + 1)))[0, columns] for row in needed]
        return np.stack(strips)[places]


def open_picture(
    path: ImageFile, *, options: ImageOptions, wanted: Callable[[int, int], tuple[int, int]] | None = None
) -> Picture:
    """Decode an image file, the first frame of an animation.

    `wanted` says from (height, width) which size of the whole picture will do: a huge JPEG file is decoded at no more
    than needed. Raises ImageError for what is missing, no image, broken, too large, too much of a strip, or holds
    values whose white nobody knows.
    """
    with (
        _opened(path) as file,
        _named_errors(path, start=_start(file)),
        _OwnLimit(),
        Image.open(file, formats=_FORMATS) as image,
    ):
        width, height = image.size
        check_size(width, height, path=path, options=options)
        if wanted is not None and width * height > DRAFT_PIXELS:
            image.draft(None, wanted(height, width)[::-1])  # None keeps the mode
        with _GIANTS if width * height > WHOLE_PIXELS else nullcontext(), errors_of_libtiff() as damaged:
            orientation = _take_orientation(image) if image.format == "TIFF" else 1
            image.load()
            if damaged:
                raise ImageError(f"is damaged: libtiff's {damaged[0]} finds errors in it ({len(damaged)})", path=path)
            if image.format == "TIFF":  # of one that is to be turned by 90 degrees, Pillow knew the size when turned
                image._size = image.im.size
            else:
                orientation = _take_orientation(image)
        return Picture(image, orientation=orientation, path=path)


def _start(file: BinaryIO) -> bytes:
    """The first bytes of a file, which stays where it was."""
    start = file.read(64)
    file.seek(0)
    return start


@contextmanager
def _opened(path: ImageFile) -> Iterator[BinaryIO]:
    """The file; one that is not large out of memory, where a decoder that is told to read gigabytes of it takes no room
    for what is not there.
    """
    if isinstance(path, ImageBytes):
        yield io.BytesIO(path.data)
        return
    with open_file(path, error=ImageError) as file:
        yield io.BytesIO(file.read()) if os.fstat(file.fileno()).st_size <= WHOLE_BYTES else file


def check_size(width: int, height: int, *, path: ImageFile, options: ImageOptions) -> None:
    """Raise ImageError for too many pixels, or too much of a strip."""
    if width * height > options.max_pixels:
        raise ImageError(
            f"{width}x{height} are {width * height} pixels: expected at most {options.max_pixels} (--max-pixels)",
            path=path,
        )
    if max(width, height) > options.max_aspect_ratio * min(width, height):
        raise ImageError(
            f"is a strip of {width}x{height} pixels: expected an aspect ratio of at most "
            f"{options.max_aspect_ratio:g} (--max-aspect-ratio)",
            path=path,
        )


def _white_level(image: Image.Image, *, path: ImageFile) -> float | None:
    """What stands for white where Pillow has not made 8 bits of it, None where it has. Raises ImageError."""
    if not image.mode.startswith(("I", "F")):
        return None
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (32 if image.mode == "F" else 16,))[0]
    extrema: Any = image.getextrema()
    lowest, highest = extrema
    if image.mode == "F":
        if 0 <= lowest <= highest <= 1:  # not so for NaN
            return 1.0
        raise ImageError(f"has {bits}-bit floats from {lowest:g} to {highest:g}: expected 0 to 1 (white)", path=path)
    if bits > 16 or tags.get(_SAMPLE_FORMAT, (1,))[0] != 1 or image.format not in _DEEP_FORMATS:
        raise ImageError(
            f"has whole numbers of {bits} bits from {lowest} to {highest}, whose white no standard says: "
            "expected 8 or 16 bits without a sign",
            path=path,
        )
    return float((1 << bits) - 1)


def _take_orientation(image: Image.Image) -> int:
    """The camera's orientation, 1 (upright) where the file has none or one that cannot be read.

    Taken out of the metadata of a TIFF file before it is loaded, when Pillow would turn it, which makes a copy; looked
    up in others afterwards: for a PNG file Pillow would load it, and take what is broken for black the second time.
    """
    try:
        found = image.getexif().pop(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


@contextmanager
def _named_errors(path: ImageFile, *, start: bytes = b"...") -> Iterator[None]:
    """Make an ImageError of one line of whatever decoders raise, for a file with this `start`."""
    try:
        yield
    except UnidentifiedImageError as error:
        found = (known_content(start) or "of no known format") if start else "empty"
        found = "broken at its start" if found == "a picture" else found
        raise ImageError(f"cannot be read as an image: {found}", path=path) from error
    except _DECODE_ERRORS as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot be read as an image: {reason}", path=path) from error


class _OwnLimit:
    """While a picture is open in any thread, our limit holds in place of Pillow's, which is the process's."""

    _lock = threading.Lock()
    _open = 0
    _pillows: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not _OwnLimit._open:
                _OwnLimit._pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            _OwnLimit._open += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            _OwnLimit._open -= 1
            if not _OwnLimit._open:
                Image.MAX_IMAGE_PIXELS = _OwnLimit._pillows
