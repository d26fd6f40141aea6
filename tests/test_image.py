"""Images: decoding of every kind of pixel, and darknet's ways of resizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clprune.errors import ImageError, UsageError
from clprune.image import RESIZE_MODES, FloatArray, load_image, preprocess, resize_bilinear


def save(folder: Path, pixels: Any, mode: str | None = None, name: str = "a.png", **options: Any) -> Path:
    path = folder / name
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


RGB = np.array([[[255, 0, 51], [0, 102, 255]], [[1, 2, 3], [255, 255, 255]], [[0, 0, 0], [9, 8, 7]]], dtype=np.uint8)


def test_rgb_is_planar_and_in_0_to_1(tmp_path: Path) -> None:
    image = load_image(save(tmp_path, RGB))
    assert image.shape == (3, 3, 2)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, (RGB.transpose(2, 0, 1) / 255.0).astype(np.float32))


def test_grey_becomes_three_equal_planes(tmp_path: Path) -> None:
    image = load_image(save(tmp_path, RGB[..., 0]))
    np.testing.assert_array_equal(image, np.stack([RGB[..., 0] / np.float32(255)] * 3))


def test_one_bit(tmp_path: Path) -> None:
    image = load_image(save(tmp_path, RGB[..., 0] > 100, mode="1"))
    np.testing.assert_array_equal(image[0], RGB[..., 0] > 100)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((3, 2, 1), 7, dtype=np.uint8)
    expected = load_image(save(tmp_path, RGB, name="rgb.png"))
    np.testing.assert_array_equal(load_image(save(tmp_path, np.concatenate([RGB, alpha], axis=2))), expected)
    grey = Image.fromarray(RGB[..., 0])
    grey.putalpha(9)
    grey.save(tmp_path / "la.png")
    np.testing.assert_array_equal(load_image(tmp_path / "la.png")[1], expected[0])


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "p.png", transparency=b"\x00\x80")
    assert load_image(tmp_path / "p.png")[:, 0].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768], [65535, 1, 513]], dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        image = load_image(save(tmp_path, values, name=name))
        np.testing.assert_allclose(image, np.stack([values / 65535] * 3), rtol=1e-6)
        assert image.dtype == np.float32
        assert image.flags.c_contiguous


def test_cmyk(tmp_path: Path) -> None:
    image = load_image(save(tmp_path, np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8), mode="CMYK", name="a.tiff"))
    assert image[:, 4, 4].tolist() == [1, 0, 0]


def test_orientation_of_the_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, RGB, exif=exif)
    expected = load_image(save(tmp_path, RGB, name="plain.png"))
    np.testing.assert_array_equal(load_image(path), np.rot90(expected, k=-1, axes=(1, 2)))


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif")[:, 0, 0].tolist() == [1, 0, 0]


def test_one_channel(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], dtype=np.uint8)
    path = save(tmp_path, np.stack([grey] * 3, axis=2))
    np.testing.assert_allclose(load_image(path, channels=1), [grey / 255], rtol=1e-6)
    with pytest.raises(UsageError, match="2 channels"):
        load_image(path, channels=2)


def test_what_is_no_image(tmp_path: Path) -> None:
    whole = save(tmp_path, np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).read_bytes()
    for name, content in (("text.jpg", b"no image"), ("empty.png", b""), ("half.png", whole[: len(whole) // 2])):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert str(caught.value).startswith(f"{path}: cannot be read as an image: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="directory"):
        load_image(tmp_path)


def planes(*rows: list[float]) -> FloatArray:
    return np.array([rows], dtype=np.float32)


def test_resize_puts_corners_on_corners() -> None:
    result = resize_bilinear(planes([0, 1], [2, 3]), height=3, width=5)
    expected = [[0, 0.25, 0.5, 0.75, 1], [1, 1.25, 1.5, 1.75, 2], [2, 2.25, 2.5, 2.75, 3]]
    np.testing.assert_allclose(result[0], expected, rtol=1e-6)


def test_resize_does_not_smooth_when_it_shrinks() -> None:
    row = [0.0, 9, 1, 9, 2]
    np.testing.assert_allclose(resize_bilinear(planes(row, row), height=2, width=3)[0], [[0, 1, 2], [0, 1, 2]])


def test_resize_of_single_rows_and_columns() -> None:
    image = planes([1, 2, 3], [4, 5, 6])
    assert resize_bilinear(image, height=1, width=3)[0].tolist() == [[4, 5, 6]]
    assert resize_bilinear(image, height=2, width=1)[0].tolist() == [[3], [6]]
    assert resize_bilinear(planes([7]), height=2, width=3)[0].tolist() == [[7, 7, 7], [7, 7, 7]]


@given(height=st.integers(1, 40), width=st.integers(1, 40), new_height=st.integers(1, 90), new_width=st.integers(1, 90))
def test_resize_keeps_corners_and_range(height: int, width: int, new_height: int, new_width: int) -> None:
    image = np.random.default_rng(height * 100 + width).random((2, height, width), dtype=np.float32)
    result = resize_bilinear(image, height=new_height, width=new_width)
    assert result.shape == (2, new_height, new_width)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    assert result.min() >= image.min() - 1e-6 and result.max() <= image.max() + 1e-6
    np.testing.assert_array_equal(result[:, -1, -1], image[:, -1, -1])
    if new_height > 1 and new_width > 1 and height > 1 and width > 1:
        np.testing.assert_array_equal(result[:, 0, 0], image[:, 0, 0])


def test_letterbox_wide_and_tall() -> None:
    wide = preprocess(np.ones((3, 2, 4), dtype=np.float32), height=5, width=4)
    assert wide[0, :, 0].tolist() == [0.5, 1, 1, 0.5, 0.5]
    tall = preprocess(np.ones((3, 4, 2), dtype=np.float32), height=4, width=5)
    assert tall[0, 0].tolist() == [0.5, 1, 1, 0.5, 0.5]


def test_crop_takes_the_centre_of_the_long_side() -> None:
    row = [0.0, 1, 2, 3, 4, 5]
    assert preprocess(planes(row, row), height=2, width=2, resize="crop")[0].tolist() == [[2, 3], [2, 3]]
    column: NDArray[np.float32] = planes(row, row).swapaxes(1, 2)
    assert preprocess(column, height=2, width=2, resize="crop")[0].tolist() == [[2, 2], [3, 3]]


def test_stretch_ignores_the_aspect_ratio() -> None:
    result = preprocess(planes([0, 1], [0, 1]), height=1, width=3, resize="stretch")
    np.testing.assert_allclose(result[0], [[0, 0.5, 1]])


@pytest.mark.parametrize("resize", RESIZE_MODES)
@given(height=st.integers(1, 50), width=st.integers(1, 50), new_height=st.integers(1, 30), new_width=st.integers(1, 30))
def test_every_shape_fits(resize: Any, height: int, width: int, new_height: int, new_width: int) -> None:
    image = np.full((1, height, width), 0.25, dtype=np.float32)
    result = preprocess(image, height=new_height, width=new_width, resize=resize)
    assert result.shape == (1, new_height, new_width)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    assert set(np.unique(result)) <= {np.float32(0.25), np.float32(0.5)}
    assert (result == 0.25).any()


@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_an_image_of_the_right_size_is_unchanged(resize: Any) -> None:
    image = np.random.default_rng(0).random((3, 7, 5), dtype=np.float32)
    np.testing.assert_array_equal(preprocess(image, height=7, width=5, resize=resize), image)


def test_refusals() -> None:
    image = np.zeros((3, 4, 4), dtype=np.float32)
    with pytest.raises(UsageError, match="0x4"):
        preprocess(image, height=0, width=4)
    with pytest.raises(UsageError, match=r"'fit'.*letterbox, crop, stretch"):
        preprocess(image, height=4, width=4, resize="fit")  # type: ignore[arg-type] # what a user may type
    with pytest.raises(UsageError, match=r"\[channels, height, width\]"):
        preprocess(image[0], height=4, width=4)
