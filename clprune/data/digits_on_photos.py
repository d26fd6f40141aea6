"""Digits on photos: handwriting pasted on photographs, hard enough to tell pruning methods apart, made offline.

Each image is one of scikit-learn's 1,797 handwritten digits (8x8, from NIST), scaled, turned, sheared and tinted,
over a random crop of one of two photographs with clutter: blobs and lines behind it, sometimes a thin line across it,
noise over all. A training image and a test image never share an original digit nor a piece of a photograph.

The images follow from the seed alone on every machine: `PCG64` supplies uniform numbers, and all that follows is
IEEE addition, multiplication, division and comparison per element. Sines, exponentials and floating sums are left
out on purpose, since their last bit depends on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.data.resize import resize_bilinear
from clprune.data.scikit import DIGIT_NAMES, load_digits, load_photos
from clprune.data.source import TEST_STREAM, DataSource, Request, check_drawn
from clprune.dataset import DataSet

#: Images of an epoch, and held-out images, where no count is given.
TRAIN_COUNT, TEST_COUNT = 40_000, 4_000
TEST_SEED = 0  # the test set is one set: it does not move with the seed of a training run

IMAGE_SIDE = 32
BLOCK_IMAGES = 128  # images that share one random stream; small enough for a block's planes to stay in cache
HELD_OUT_SHARE = 0.2
SPLIT_SEED = 1797  # the split is part of the data set's definition: it does not move with the user's seed
TRAIN_WIDTH_SHARE = 0.7  # training crops come from the left part of each photograph, test crops from the rest

_DIGIT_CELLS = 8
_OVERSAMPLING = 4
_MARGIN = 4
_STENCIL = _DIGIT_CELLS * _OVERSAMPLING + 2 * _MARGIN
_HALVINGS = 2

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Originals:
    """What is composed: `stencils` float32 `[n, 40, 40]` in 0..1, `labels` int64 `[n]`, `crops` uint32 planes.

    `crops` holds the photographs at full, half and quarter size, each pixel packed as 0x00BBGGRR.
    """

    stencils: Float32
    labels: NDArray[np.int64]
    crops: tuple[NDArray[np.uint32], ...]


def split_originals(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the original digits for training and for testing; the same on every machine and for every seed."""
    # argsort of uniform numbers instead of Generator.permutation, whose algorithm NumPy may change
    order = np.argsort(np.random.Generator(np.random.PCG64(SPLIT_SEED)).random(count), kind="stable")
    held_out = round(HELD_OUT_SHARE * count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def prepare(digits: NDArray[Any], labels: NDArray[Any], photos: list[NDArray[np.uint8]], *, split: str) -> Originals:
    """Choose the split's originals and its part of the photographs.

    `digits` `[n, 8, 8]` in 0..16, `labels` `[n]`, `photos` uint8 `[height, width, 3]`; `split` "train" or "test".
    """
    train, test = split_originals(len(digits))
    chosen = train if split == "train" else test
    crops: list[NDArray[np.uint32]] = []
    for photo in photos:
        border = int(photo.shape[1] * TRAIN_WIDTH_SHARE)
        part = photo[:, :border] if split == "train" else photo[:, border:]
        for _ in range(_HALVINGS + 1):
            if min(part.shape[:2]) >= IMAGE_SIDE:
                crops.append(_pack(part))
            part = _halve(part)
    return Originals(
        stencils=_stencils(np.asarray(digits)[chosen]),
        labels=np.asarray(labels)[chosen].astype(np.int64),
        crops=tuple(crops),
    )


def compose(originals: Originals, *, count: int, seed: int, stream: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw `count` images: uint8 `[count, 3, 32, 32]` and their labels int64 `[count]`.

    `seed` and `stream` (train and test use different ones, and every epoch its own) name the random stream.
    """
    check_drawn(count=count, height=IMAGE_SIDE, width=IMAGE_SIDE)
    images = np.empty((count, 3, IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    labels = np.empty(count, np.int64)
    for start in range(0, count, BLOCK_IMAGES):
        entropy = [seed, stream, start // BLOCK_IMAGES]
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        stop = min(start + BLOCK_IMAGES, count)
        # a block is always drawn whole, so that a longer set begins with the images of a shorter one
        block, block_labels = _compose_block(originals, random)
        images[start:stop] = block[: stop - start]
        labels[start:stop] = block_labels[: stop - start]
    return images, labels


def _pack(photo: NDArray[np.uint8]) -> NDArray[np.uint32]:
    wide = photo.astype(np.uint32)
    packed: NDArray[np.uint32] = wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)
    return packed


def _halve(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = photo.shape[0] // 2 * 2, photo.shape[1] // 2 * 2
    wide = photo[:height, :width].astype(np.uint16)
    mean = (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) // 4
    return mean.astype(np.uint8)


def _stencils(digits: NDArray[Any]) -> Float32:
    """Enlarge 8x8 digits four times by Catmull-Rom splines and put an empty margin round them."""
    values = np.asarray(digits, np.float32) / np.float32(16)
    for axis in (1, 2):
        values = _enlarge(values, axis=axis)
    margins = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))
    stencils: Float32 = np.pad(np.clip(values, 0, 1), margins)
    return stencils


def _enlarge(values: Float32, *, axis: int) -> Float32:
    values = np.moveaxis(values, axis, -1)
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)])
    cells = values.shape[-1]
    enlarged = np.empty((*values.shape[:-1], cells, _OVERSAMPLING), np.float32)
    for phase in range(_OVERSAMPLING):
        offset = (phase + 0.5) / _OVERSAMPLING - 0.5
        first, t = (1, offset + 1) if offset < 0 else (2, offset)
        weights = (
            -0.5 * t + t * t - 0.5 * t * t * t,
            1 - 2.5 * t * t + 1.5 * t * t * t,
            0.5 * t + 2 * t * t - 1.5 * t * t * t,
            -0.5 * t * t + 0.5 * t * t * t,
        )
        total = np.zeros_like(values)
        for tap, weight in enumerate(weights):
            start = first - 1 + tap
            total = total + np.float32(weight) * padded[..., start : start + cells]
        enlarged[..., phase] = total
    return np.moveaxis(enlarged.reshape(*values.shape[:-1], cells * _OVERSAMPLING), -1, axis)


class _Dice:
    """Uniform numbers for one block of images, shaped `[images, 1]` to broadcast over its pixels."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def between(self, low: float, high: float, *, columns: int = 1) -> Float32:
        uniform = self._random.random((BLOCK_IMAGES, columns))
        return (low + uniform * (high - low)).astype(np.float32)

    def chance(self, share: float) -> NDArray[np.bool_]:
        return self._random.random((BLOCK_IMAGES, 1)) < share

    def below(self, limits: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Whole numbers in 0..limit-1, `[images]`."""
        return (self._random.random(BLOCK_IMAGES) * limits).astype(np.int64)

    def noise(self) -> Float32:
        """Triangular noise in -1..1, `[3, images, pixels]`."""
        size = 3 * BLOCK_IMAGES * IMAGE_SIDE * IMAGE_SIDE
        first = np.frombuffer(self._random.bytes(size), np.uint8).astype(np.int16)
        second = np.frombuffer(self._random.bytes(size), np.uint8)
        difference = (first - second).astype(np.float32) * np.float32(1 / 255)
        noise: Float32 = difference.reshape(3, BLOCK_IMAGES, IMAGE_SIDE * IMAGE_SIDE)
        return noise


_PIXEL = np.arange(IMAGE_SIDE, dtype=np.float32) - np.float32((IMAGE_SIDE - 1) / 2)
_X = np.ascontiguousarray(np.broadcast_to(_PIXEL[None, :], (IMAGE_SIDE, IMAGE_SIDE))).reshape(1, -1)
_Y = np.ascontiguousarray(np.broadcast_to(_PIXEL[:, None], (IMAGE_SIDE, IMAGE_SIDE))).reshape(1, -1)


def _compose_block(originals: Originals, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    dice = _Dice(random)
    chosen = dice.below(len(originals.labels))
    canvas = _background(originals.crops, dice)
    for _ in range(2):
        _paint(canvas, _blob(dice), colour=dice.between(0, 1, columns=3), opacity=dice.between(0.2, 0.8), dice=dice)
    for _ in range(2):
        _paint(canvas, _line(dice), colour=dice.between(0, 1, columns=3), opacity=dice.between(0.3, 0.9), dice=dice)
    digit = _digit(originals.stencils, chosen, dice)
    colour = _ink(canvas, dice)
    _blend(canvas, digit * dice.between(0.7, 1.0), colour)
    _paint(canvas, _line(dice), colour=dice.between(0, 1, columns=3), opacity=dice.between(0.3, 0.8), dice=dice)
    canvas += dice.noise() * dice.between(0, 0.16)
    np.clip(canvas, 0, 1, out=canvas)
    quantised = (canvas * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    images = quantised.reshape(3, BLOCK_IMAGES, IMAGE_SIDE, IMAGE_SIDE).transpose(1, 0, 2, 3)
    return images, originals.labels[chosen]


def _background(crops: tuple[NDArray[np.uint32], ...], dice: _Dice) -> Float32:
    """Random crops, mirrored, with their brightness, contrast and colour changed: float32 `[3, images, pixels]`."""
    heights = np.array([crop.shape[0] for crop in crops])
    widths = np.array([crop.shape[1] for crop in crops])
    starts = np.concatenate([[0], np.cumsum(heights * widths)])
    flat = np.concatenate([crop.reshape(-1) for crop in crops])
    which = dice.below(len(crops))
    top = dice.below(heights[which] - IMAGE_SIDE + 1)
    left = dice.below(widths[which] - IMAGE_SIDE + 1)
    side = np.arange(IMAGE_SIDE)
    columns = np.where(dice.chance(0.5), side[::-1], side) + left[:, None]
    rows = np.where(dice.chance(0.5), side[::-1], side) + top[:, None]
    index = (starts[which, None] + rows * widths[which, None])[:, :, None] + columns[:, None, :]
    packed = np.take(flat, index.reshape(BLOCK_IMAGES, -1))
    planes = np.stack([packed & 255, packed >> 8 & 255, packed >> 16]).astype(np.float32)
    gain = dice.between(0.6, 1.2) / np.float32(255)
    for channel in range(3):
        planes[channel] *= gain * dice.between(0.85, 1.15)
        planes[channel] += dice.between(-0.1, 0.15)
    return planes


def _digit(stencils: Float32, chosen: NDArray[np.int64], dice: _Dice) -> Float32:
    """Opacity of the chosen digits after a random similarity, shear and stroke width: float32 `[images, pixels]`."""
    side = dice.between(17, 28)
    across = np.float32(_DIGIT_CELLS * _OVERSAMPLING) / side
    stretch = dice.between(0.87, 1.15)
    half_tangent = dice.between(-0.17, 0.17)  # tan(angle / 2): up to 19 degrees either way
    norm = 1 + half_tangent * half_tangent
    cosine, sine = (1 - half_tangent * half_tangent) / norm, 2 * half_tangent / norm
    shear = dice.between(-0.2, 0.2)
    room = (IMAGE_SIDE - side) / 2 + 1
    x = _X - dice.between(-1, 1) * room
    y = _Y - dice.between(-1, 1) * room
    turned_x = (cosine * across) * x + (sine * across) * y
    turned_y = (cosine * across) * y - (sine * across) * x
    middle = np.float32((_STENCIL - 1) / 2)
    source_x = (turned_x + shear * turned_y) * stretch + middle
    source_y = turned_y + middle
    ink = _sample(stencils, chosen, x=source_x, y=source_y)
    threshold = dice.between(0.25, 0.5)
    opacity: Float32 = np.clip((ink - threshold) * dice.between(2.5, 5), 0, 1)
    return opacity


def _sample(stencils: Float32, chosen: NDArray[np.int64], *, x: Float32, y: Float32) -> Float32:
    """Bilinear samples of each image's own stencil; outside it there is no ink."""
    limit = np.float32(_STENCIL - 1.001)
    x, y = np.clip(x, 0, limit), np.clip(y, 0, limit)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x -= left
    y -= top
    flat = stencils.reshape(-1)
    index = (chosen[:, None] * (_STENCIL * _STENCIL)).astype(np.int32) + top * np.int32(_STENCIL) + left
    upper_left, upper_right = flat.take(index), flat.take(index + np.int32(1))
    lower_left, lower_right = flat.take(index + np.int32(_STENCIL)), flat.take(index + np.int32(_STENCIL + 1))
    upper = upper_left + (upper_right - upper_left) * x
    lower = lower_left + (lower_right - lower_left) * x
    ink: Float32 = upper + (lower - upper) * y
    return ink


def _blob(dice: _Dice) -> Float32:
    """A soft-edged ellipse anywhere: float32 `[images, pixels]` in 0..1."""
    x = (_X - dice.between(-18, 18)) / dice.between(2, 8)
    y = (_Y - dice.between(-18, 18)) / dice.between(2, 8)
    opacity: Float32 = np.clip((1 - x * x - y * y) * dice.between(1, 4), 0, 1)
    return opacity


def _line(dice: _Dice) -> Float32:
    """A straight stroke through the image, cut off at one end: float32 `[images, pixels]` in 0..1."""
    tangent = dice.between(-1, 1)
    steep = np.where(dice.chance(0.5), np.float32(1), np.float32(0))
    norm = np.sqrt(1 + tangent * tangent)
    along_x = (1 - steep + steep * tangent) / norm
    along_y = (steep + (1 - steep) * tangent) / norm
    x, y = _X - dice.between(-14, 14), _Y - dice.between(-14, 14)
    away = np.abs(along_x * y - along_y * x)
    along = np.abs(along_x * x + along_y * y)
    inside = np.clip(dice.between(4, 24) - along, 0, 1)
    opacity: Float32 = np.clip(dice.between(0.8, 2.0) - away, 0, 1) * inside
    return opacity


def _ink(canvas: Float32, dice: _Dice) -> Float32:
    """A colour that stands out from the middle of the picture, lighter or darker: float32 `[images, 3]`."""
    centre = np.float32(0)
    middle = IMAGE_SIDE * IMAGE_SIDE // 2 + IMAGE_SIDE // 2
    for step in (-6 * IMAGE_SIDE, -6, 0, 6, 6 * IMAGE_SIDE):  # five pixels: a whole plane's sum has no fixed order
        centre = centre + canvas[:, :, middle + step]
    centre = (centre * np.float32(0.2)).T
    luminance = (centre[:, :1] + centre[:, 1:2] + centre[:, 2:]) / np.float32(3)
    lighter = dice.between(0.2, 0.8) > luminance
    contrast = dice.between(0.22, 0.7) * np.where(lighter, np.float32(1), np.float32(-1))
    colour: Float32 = np.clip(centre + contrast + dice.between(-0.2, 0.2, columns=3), 0, 1)
    return colour


def _paint(canvas: Float32, shape: Float32, *, colour: Float32, opacity: Float32, dice: _Dice) -> None:
    """Blend a piece of clutter into about half of the images."""
    _blend(canvas, shape * np.where(dice.chance(0.5), opacity, np.float32(0)), colour)


def _blend(canvas: Float32, opacity: Float32, colour: Float32) -> None:
    for channel in range(3):
        canvas[channel] += (colour[:, channel, None] - canvas[channel]) * opacity


def _load(request: Request) -> DataSet:
    digits, labels = load_digits()
    originals = prepare(digits, labels, load_photos(), split=request.split)
    if request.split == "test":
        return _drawn(originals, replace(request, seed=TEST_SEED, count=request.count or TEST_COUNT), TEST_STREAM)
    fresh = partial(_drawn, originals, replace(request, count=request.count or TRAIN_COUNT))
    return replace(fresh(0), renew=fresh)


def _drawn(originals: Originals, request: Request, stream: int) -> DataSet:
    check_drawn(count=request.count or TRAIN_COUNT, height=request.height, width=request.width)
    images, labels = compose(originals, count=request.count or TRAIN_COUNT, seed=request.seed, stream=stream)
    images = resize_bilinear(images, height=request.height, width=request.width)
    return DataSet(name="digits-on-photos", images=images, labels=labels, class_names=DIGIT_NAMES)


DATA_SET = DataSource(load=_load)
