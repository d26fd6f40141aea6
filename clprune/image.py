"""Images as a network wants them: float32 `[channels, height, width]`, values in 0..1, red, green, blue.

Resizing is darknet's (image.c): bilinear with aligned corners and no antialiasing, first along rows, then along
columns, in float32.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clprune.errors import ImageError, UsageError
from clprune.files import open_file

FloatArray = NDArray[np.float32]
Resize = Literal["letterbox", "crop", "stretch"]

#: How an image of another shape is made to fit; darknet's `predict` letterboxes, older and forked ones crop.
RESIZE_MODES: tuple[Resize, ...] = ("letterbox", "crop", "stretch")

LETTERBOX_FILL = 0.5

#: What Pillow's many decoders raise on broken files.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, AttributeError,
    AssertionError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, MemoryError,
)  # fmt: skip

_UNIT_VALUES: FloatArray = (np.arange(256) / 255.0).astype(np.float32)


def load_image(path: str | Path, *, channels: int = 3) -> FloatArray:
    """Read an image file as float32 `[channels, H, W]`, RGB for 3 channels, luma (ITU-R 601) for 1.

    The camera's orientation (EXIF) is applied, the first frame of an animation is taken, transparency is dropped as
    darknet and torchvision drop it, 16-bit grey keeps its precision. Raises ImageError when the file is missing or
    cannot be decoded, UsageError for another number of channels.

    >>> image = clprune.load_image("digit-3.png")
    >>> image.shape, image.dtype.name, float(image.min()) >= 0
    ((3, 32, 32), 'float32', True)
    """
    if channels not in (1, 3):
        raise UsageError(f"{channels} channels: expected 1 or 3")
    with open_file(path, error=ImageError) as file:
        try:
            image = _decode(file, mode="L" if channels == 1 else "RGB")
        except UnidentifiedImageError as error:
            raise ImageError("cannot be read as an image: of no known format", path=path) from error
        except _DECODE_ERRORS as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"cannot be read as an image: {reason}", path=path) from error
    return _to_array(image, channels=channels)


def preprocess(image: FloatArray, *, height: int, width: int, resize: Resize = "letterbox") -> FloatArray:
    """Make an image `[C, H, W]` fit a network's input, float32 `[C, height, width]`.

    `letterbox` scales it to fit inside and fills the rest with 0.5, `crop` scales it to cover and cuts the centre
    (for a square input: short side to the input's size), `stretch` ignores the aspect ratio. Raises UsageError.
    """
    if height < 1 or width < 1:
        raise UsageError(f"input size {height}x{width}: both sides must be at least 1")
    _check_image(image)
    if resize == "letterbox":
        return _letterbox(image, height=height, width=width)
    if resize == "crop":
        return _cover_and_crop(image, height=height, width=width)
    if resize == "stretch":
        return resize_bilinear(image, height=height, width=width)
    raise UsageError(f"resize {resize!r}: expected one of {', '.join(RESIZE_MODES)}")


def resize_bilinear(image: FloatArray, *, height: int, width: int) -> FloatArray:
    """Darknet's `resize_image`: `[C, H, W]` to float32 `[C, height, width]`, corners on corners.

    A side of one pixel takes the last row or column. Darknet's rounding turns the last row nearly black for some
    sizes; here it is always the image's last row.
    """
    rows = _along_rows(np.asarray(image, dtype=np.float32), width)
    return np.ascontiguousarray(_along_rows(rows.swapaxes(1, 2), height).swapaxes(1, 2))


def _along_rows(image: FloatArray, width: int) -> FloatArray:
    """Interpolate along the last axis to `width` values."""
    size = image.shape[-1]
    if width == size:
        return image
    if size == 1 or width == 1:
        return np.repeat(image[..., -1:], width, axis=-1)
    positions = np.arange(width, dtype=np.float32) * (np.float32(size - 1) / np.float32(width - 1))
    # The last place is the last pixel whatever the rounding of its position was.
    left = np.minimum(positions.astype(np.intp), size - 2)
    fraction = (positions - left).astype(np.float32)
    fraction[-1] = 1
    result: FloatArray = (1 - fraction) * image[..., left] + fraction * image[..., left + 1]
    return result


def _letterbox(image: FloatArray, *, height: int, width: int) -> FloatArray:
    channels, image_height, image_width = image.shape
    # Compared in float32, as darknet compares them.
    if np.float32(width) / np.float32(image_width) < np.float32(height) / np.float32(image_height):
        new_width, new_height = width, max(image_height * width // image_width, 1)
    else:
        new_width, new_height = max(image_width * height // image_height, 1), height
    boxed = np.full((channels, height, width), LETTERBOX_FILL, dtype=np.float32)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    resized = resize_bilinear(image, height=new_height, width=new_width)
    boxed[:, top : top + new_height, left : left + new_width] = resized
    return boxed


def _cover_and_crop(image: FloatArray, *, height: int, width: int) -> FloatArray:
    _, image_height, image_width = image.shape
    if image_width * height < image_height * width:
        new_width, new_height = width, image_height * width // image_width
    else:
        new_width, new_height = image_width * height // image_height, height
    top, left = (new_height - height) // 2, (new_width - width) // 2
    resized = resize_bilinear(image, height=new_height, width=new_width)
    return np.ascontiguousarray(resized[:, top : top + height, left : left + width])


def _check_image(image: FloatArray) -> None:
    if image.ndim != 3 or 0 in image.shape:
        raise UsageError(f"image of shape {image.shape}: expected [channels, height, width]")


def _decode(file: BinaryIO, *, mode: str) -> Image.Image:
    """The upright picture in `mode`, or in one of Pillow's 16-bit modes (I, I;16, ...) where the file has those."""
    with Image.open(file) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return upright
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert(mode)


def _to_array(image: Image.Image, *, channels: int) -> FloatArray:
    """Pixels as `[channels, H, W]` in 0..1."""
    if image.mode.startswith("I"):
        # Pillow's own conversion of 16 bits to 8 would clip instead of scale.
        grey = np.clip(np.asarray(image, dtype=np.float32) / 65535, 0, 1)
        return np.ascontiguousarray(np.broadcast_to(grey, (channels, *grey.shape)))
    pixels = np.asarray(image)
    planes = pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)
    values: FloatArray = _UNIT_VALUES[np.ascontiguousarray(planes)]
    return values
