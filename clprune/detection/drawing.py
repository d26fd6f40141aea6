"""Objects drawn into a picture: boxes with labels that stay readable on whatever is behind them, and inside it."""

from __future__ import annotations

import bisect
import colorsys
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clprune.detection.lettering import Font, font_for, plain
from clprune.detection.objects import Detection

Colour: TypeAlias = tuple[int, int, int]
#: Left, top, right, bottom; the last two lie outside.
_Rectangle: TypeAlias = tuple[int, int, int, int]

#: Fractions of the picture's shorter side.
_LINE, _TEXT = 1 / 220, 1 / 32
_SMALLEST_TEXT = 9
#: Steps of hue between the colours of classes: neighbours are far apart.
_GOLDEN_RATIO = 0.618034


def draw_objects(pixels: NDArray[np.uint8], detections: Sequence[Detection]) -> Image.Image:
    """A copy of the picture uint8 `[H, W, 3]` with a box and a label for each object, the surest on top."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    line = max(round(min(image.size) * _LINE), 2)
    for found in reversed(detections):
        left, top, right, bottom = _inside(found, image)
        box = (left, top, max(right - 1, left), max(bottom - 1, top))
        draw.rectangle(box, outline=_text_colour(class_colour(found.class_index)), width=line + 2)
        draw.rectangle(box, outline=class_colour(found.class_index), width=line)
    taken: list[_Rectangle] = []
    for found in detections:
        place = _draw_label(draw, image, found, line=line, taken=taken)
        if place is not None:
            taken.append(place)
    return image


def crop_object(pixels: NDArray[np.uint8], found: Detection) -> Image.Image | None:
    """The part of the picture uint8 `[H, W, 3]` that a box shows, None where it lies outside."""
    image = Image.fromarray(pixels)
    left, top, right, bottom = _inside(found, image)
    return image.crop((left, top, right, bottom)) if right > left and bottom > top else None


def class_colour(index: int) -> Colour:
    """A bright colour for a class, always the same."""
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _text_colour(background: Colour) -> Colour:
    """Black or white, whichever stands out (luma of ITU-R 601)."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def _inside(found: Detection, image: Image.Image) -> _Rectangle:
    """A box in whole pixels, cut at the picture's borders."""
    left, top, right, bottom = found.corners(width=image.width, height=image.height)
    return (
        *(min(max(round(left), 0), image.width), min(max(round(top), 0), image.height)),
        *(min(max(round(right), 0), image.width), min(max(round(bottom), 0), image.height)),
    )


def _draw_label(
    draw: ImageDraw.ImageDraw, image: Image.Image, found: Detection, *, line: int, taken: Sequence[_Rectangle]
) -> _Rectangle | None:
    """Above the box, or below its upper edge where the picture ends; at the nearest place that no label has `taken`,
    smaller and shorter where the picture is narrow. None where no place is left.
    """
    text, font, size = _fitting_text(draw, found, image)
    start, above, end, below = draw.textbbox((0, 0), text, font=font)
    pad = max(size // 5, 1)
    width, height = round(end - start) + 2 * pad, round(below - above) + 2 * pad
    left, top, _, _ = _inside(found, image)
    x = max(min(left, image.width - width), 0)
    wanted = top - height if top >= height else max(min(top + line, image.height - height), 0)
    beside = [other for other in taken if x < other[2] and other[0] < x + width]
    places = [wanted, *(other[3] for other in beside), *(other[1] - height for other in beside)]
    free = [
        y
        for y in places
        if 0 <= y <= max(image.height - height, 0)
        and not any(y < other[3] and other[1] < y + height for other in beside)
    ]
    if not free:
        return None
    y = min(free, key=lambda place: abs(place - wanted))
    colour = class_colour(found.class_index)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    draw.text((x + pad - start, y + pad - above), text, font=font, fill=_text_colour(colour))
    return x, y, x + width, y + height


def _fitting_text(draw: ImageDraw.ImageDraw, found: Detection, image: Image.Image) -> tuple[str, Font, int]:
    """(a label in letters that can be drawn, its font and size): the name is shortened where the picture is narrower
    than its smallest text.
    """
    name, share = found.name[: image.width], f" {found.confidence:.0%}"  # hardly a letter is narrower than a pixel
    size = max(round(min(image.size) * _TEXT), _SMALLEST_TEXT)
    if font_for(name, size) is None:
        name = plain(name) or f"#{found.class_index}"
    text = name + share
    while (width := _label_width(draw, text, size)) > image.width and size > _SMALLEST_TEXT:
        size = max(size * image.width // width, _SMALLEST_TEXT)
    if width > image.width:

        def shortened(length: int) -> str:
            return f"{name[:length]}\N{HORIZONTAL ELLIPSIS}{share}" if length else share.strip()

        lengths = range(1, len(name))
        text = shortened(
            bisect.bisect_right(lengths, image.width, key=lambda length: _label_width(draw, shortened(length), size))
        )
    return text, _font_of(text, size), size


def _label_width(draw: ImageDraw.ImageDraw, text: str, size: int) -> int:
    """Pixels of a label of letters of this size with its borders."""
    start, _, end, _ = draw.textbbox((0, 0), text, font=_font_of(text, size))
    return round(end - start) + 2 * max(size // 5, 1)


def _font_of(text: str, size: int) -> Font:
    return font_for(text, size) or ImageFont.load_default(size)
