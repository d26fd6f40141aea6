"""Pictures of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clprune.image import RESIZE_MODES, ImageOptions, load_image, read_input
from tests.fuzz.targets.target import Target

if TYPE_CHECKING:
    from clprune.opencl import Session


def _picture_seeds(folder: Path) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (11, 14, 3), np.uint8)
    colours, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    for suffix in ("png", "jpg", "gif", "bmp", "ppm", "tif", "webp"):
        colours.save(folder / f"a.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(folder / "turned.jpg", exif=exif)
    Image.fromarray(random.random((11, 14), np.float32)).save(folder / "float.tif")
    grey.convert("I;16").save(folder / "deep.png")
    grey.save(folder / "grey.pgm")
    colours.quantize(5).save(folder / "palette.png")
    colours.save(folder / "animated.gif", save_all=True, append_images=[colours.rotate(90)])


def _handle_picture(path: Path, session: Session | None) -> str:
    resize = RESIZE_MODES[path.stat().st_size % len(RESIZE_MODES)]
    image = read_input(path, channels=3, height=9, width=7, options=ImageOptions(resize=resize))
    whole = load_image(path, channels=1, options=ImageOptions(max_pixels=1 << 20))
    for values in (image, whole):
        assert np.isfinite(values).all(), "accepted a picture that is not finite"
        assert values.min() >= 0, "a pixel below 0"
        assert values.max() <= 1 + 1e-6, "a pixel above 1"
    return f"{resize} {whole.shape == (1, 11, 14)}"


TARGETS = [Target(name="pictures", suffix=".png", seeds=_picture_seeds, handle=_handle_picture)]
