"""Images as a network wants them: float32 `[channels, height, width]`, values in 0..1, red, green, blue.

Resizing is darknet's (image.c): bilinear with aligned corners and no antialiasing, first along rows, then along
columns, in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clprune.errors import UsageError
from clprune.picture import RESIZE_MODES, FloatArray, ImageFile, ImageOptions, Indices, Picture, Resize, open_picture

__all__ = [
    "RESIZE_MODES", "FloatArray", "ImageOptions", "Resize", "fit_picture", "load_image", "preprocess", "read_input",
    "resize_bilinear", "scaled_size",
]  # fmt: skip

LETTERBOX_FILL = 0.5

#: Positions up to here are whole numbers in float32.
_FLOAT32_EXACT = 1 << 24

#: From rows `[n]` and columns `[m]` of an image to its pixels there, float32 `[channels, n, m]`.
_Pick: TypeAlias = Callable[[Indices, Indices], FloatArray]


def load_image(path: ImageFile, *, channels: int = 3, options: ImageOptions | None = None) -> FloatArray:
    """Read an image file as float32 `[channels, H, W]`, RGB for 3 channels, luma (ITU-R 601) for 1.

    The camera's orientation (EXIF) is applied, the first frame of an animation is taken, transparency is dropped as
    darknet and torchvision drop it, 16-bit grey keeps its precision. Raises ImageError when the file is missing,
    cannot be decoded, is larger than `options` allow, or holds values whose white nobody knows (32-bit integers, floats
    beyond 0..1); UsageError for another number of channels.

    >>> image = clprune.load_image("digit-3.png")
    >>> image.shape, image.dtype.name, float(image.min()) >= 0
    ((3, 32, 32), 'float32', True)
    """
    _check_channels(channels)
    picture = open_picture(path, options=options or ImageOptions())
    height, width = picture.size
    return picture.pick(np.arange(height), np.arange(width), channels=channels)


def read_input(
    path: ImageFile, *, channels: int, height: int, width: int, options: ImageOptions | None = None
) -> FloatArray:
    """`preprocess(load_image(path))` without the planes of the whole image, which may be huge. Raises what these do."""
    _check_channels(channels)
    options = options or ImageOptions()

    wanted = functools.partial(scaled_size, height=height, width=width, resize=options.resize)
    picture = open_picture(path, options=options, wanted=wanted)
    return fit_picture(picture, channels=channels, height=height, width=width, resize=options.resize)


def fit_picture(picture: Picture, *, channels: int, height: int, width: int, resize: Resize) -> FloatArray:
    """What `read_input` makes of an open picture. Raises ImageError."""
    placed = _Placed.of(*picture.size, height=height, width=width, resize=resize)
    return placed.draw(lambda rows, columns: picture.pick(rows, columns, channels=channels), channels=channels)


def scaled_size(image_height: int, image_width: int, *, height: int, width: int, resize: Resize) -> tuple[int, int]:
    """(height, width) of a whole image that was scaled to fit `height` x `width`; of a crop the centre shows."""
    return _Placed.of(image_height, image_width, height=height, width=width, resize=resize).scaled


def preprocess(image: FloatArray, *, height: int, width: int, resize: Resize = "letterbox") -> FloatArray:
    """Make an image `[C, H, W]` fit a network's input, float32 `[C, height, width]`.

    `letterbox` scales it to fit inside and fills the rest with 0.5, `crop` scales it to cover and cuts the centre
    (for a square input: short side to the input's size), `stretch` ignores the aspect ratio. Raises UsageError.
    """
    if height < 1 or width < 1:
        raise UsageError(f"input size {height}x{width}: both sides must be at least 1")
    if image.ndim != 3 or 0 in image.shape:
        raise UsageError(f"image of shape {image.shape}: expected [channels, height, width]")
    return _place(image, _Placed.of(*image.shape[1:], height=height, width=width, resize=resize))


def resize_bilinear(image: FloatArray, *, height: int, width: int) -> FloatArray:
    """Darknet's `resize_image`: `[C, H, W]` to float32 `[C, height, width]`, corners on corners.

    A side of one pixel takes the last row or column. Darknet's rounding turns the last row nearly black for some
    sizes; here it is always the image's last row.
    """
    whole = _Placed.of(*image.shape[1:], height=height, width=width, resize="stretch")
    return _place(np.asarray(image, dtype=np.float32), whole)


@dataclass(frozen=True, kw_only=True)
class _Taps:
    """Where values along one axis come from: of `left` and `right` `[n]` a `share` `[n]` of the right one.

    `right` and `share` are None where the values are those of `left`.
    """

    left: Indices
    right: Indices | None = None
    share: FloatArray | None = None

    @classmethod
    def of(cls, size: int, scaled: int, *, first: int, count: int) -> _Taps:
        """Of values `first` to `first + count - 1` when `size` of them are made `scaled`."""
        places = np.arange(first, first + count)
        if scaled == size:
            return cls(left=places)
        if size == 1 or scaled == 1:
            return cls(left=np.full(count, size - 1))
        number = np.float32 if scaled <= _FLOAT32_EXACT else np.float64
        positions = places.astype(number) * (number(size - 1) / number(scaled - 1))
        # The last place is the last pixel whatever the rounding of its position was.
        left = np.minimum(positions.astype(np.intp), size - 2)
        share = (positions - left).astype(np.float32)
        share[places == scaled - 1] = 1
        return cls(left=left, right=left + 1, share=share)

    @property
    def needed(self) -> Indices:
        """Every place that is read, the left ones first."""
        return self.left if self.right is None else np.concatenate([self.left, self.right])

    def interpolate(self, values: FloatArray) -> FloatArray:
        """`[..., n]` from those of `needed`, in float32."""
        if self.share is None:
            return values
        count = len(self.left)
        result: FloatArray = (1 - self.share) * values[..., :count] + self.share * values[..., count:]
        return result


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """An image scaled to `scaled` (height, width), of which `rows` and `columns` show from (`top`, `left`) on.

    The result has `height` x `width` pixels; the image does not reach all of them where it is letterboxed.
    """

    height: int
    width: int
    scaled: tuple[int, int]
    top: int
    left: int
    rows: _Taps
    columns: _Taps

    @classmethod
    def of(cls, image_height: int, image_width: int, *, height: int, width: int, resize: Resize) -> _Placed:
        """Raises UsageError for an unknown `resize`."""
        new_height, new_width = height, width
        if resize == "letterbox":
            # Compared in float32, as darknet compares them.
            if np.float32(width) / np.float32(image_width) < np.float32(height) / np.float32(image_height):
                new_height = max(image_height * width // image_width, 1)
            else:
                new_width = max(image_width * height // image_height, 1)
        elif resize == "crop":
            if image_width * height < image_height * width:
                new_height = image_height * width // image_width
            else:
                new_width = image_width * height // image_height
        elif resize != "stretch":
            raise UsageError(f"resize {resize!r}: expected one of {', '.join(RESIZE_MODES)}")
        above, before = (new_height - height) // 2, (new_width - width) // 2
        return cls(
            height=height,
            width=width,
            scaled=(new_height, new_width),
            top=max((height - new_height) // 2, 0),
            left=max((width - new_width) // 2, 0),
            rows=_Taps.of(image_height, new_height, first=max(above, 0), count=min(new_height, height)),
            columns=_Taps.of(image_width, new_width, first=max(before, 0), count=min(new_width, width)),
        )

    def draw(self, pick: _Pick, *, channels: int) -> FloatArray:
        """The result, float32 `[channels, height, width]`: first along rows, then along columns."""
        along_rows = self.columns.interpolate(pick(self.rows.needed, self.columns.needed))
        image = self.rows.interpolate(along_rows.swapaxes(1, 2)).swapaxes(1, 2)
        if image.shape[1:] == (self.height, self.width):
            return np.ascontiguousarray(image)
        boxed = np.full((channels, self.height, self.width), LETTERBOX_FILL, dtype=np.float32)
        boxed[:, self.top : self.top + image.shape[1], self.left : self.left + image.shape[2]] = image
        return boxed


def _place(image: FloatArray, placed: _Placed) -> FloatArray:
    return placed.draw(lambda rows, columns: image[:, rows[:, None], columns], channels=len(image))


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"{channels} channels: expected 1 or 3")
