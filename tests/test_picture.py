"""Picture files that are unusual: deep, floating, turned, giant, thin, or of damaged metadata."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clprune import picture
from clprune.errors import ImageError, UsageError
from clprune.image import RESIZE_MODES, ImageOptions, load_image, preprocess, read_input

#: What a process may take in all for a picture of 13,000 x 13,000 pixels, and so many bytes for each pixel fewer less.
MAX_BYTES, BYTES_PER_PIXEL = 1_500_000_000, 7

MEASURE = """
import sys
from clprune.errors import ImageError
from clprune.image import ImageOptions, read_input
options = ImageOptions(resize=sys.argv[2], max_aspect_ratio=float(sys.argv[3]))
try:
    image = read_input(sys.argv[1], channels=3, height=224, width=224, options=options)
    print(image.shape, image[0, 112, 112])
except ImageError as error:
    print(error)
# not getrusage's: that begins with what the process had that started this one
status = open("/proc/self/status").read()
print(1024 * int(status.split("VmHWM:")[1].split()[0]))
"""


has_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells the peak of memory")


def read_apart(path: Path, *, pixels: int, resize: str = "letterbox", max_aspect_ratio: float = 1000) -> str:
    """What reading an image in a process of its own says, which must not take more than its share of `MAX_BYTES`."""
    arguments = [sys.executable, "-W", "error", "-c", MEASURE, str(path), resize, str(max_aspect_ratio)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    said, peak_bytes = done.stdout.splitlines()
    assert int(peak_bytes) < MAX_BYTES - BYTES_PER_PIXEL * (13_000**2 - pixels)
    return said


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow makes pictures of any size."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@has_proc
def test_a_strip_is_refused_or_cropped_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("L", (1, 3_000_000), 255).save(path)
    assert read_apart(path, pixels=3_000_000, resize="crop") == (
        f"{path}: is a strip of 1x3000000 pixels: expected an aspect ratio of at most 1000 (--max-aspect-ratio)"
    )
    assert read_apart(path, pixels=3_000_000, resize="crop", max_aspect_ratio=3e6) == "(3, 224, 224) 1.0"


@has_proc
@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize(
    ("name", "side", "mode", "options"),
    [
        ("a.png", 13_000, "L", {"compress_level": 1}),
        ("a.jpg", 8_200, "RGB", {"progressive": True, "subsampling": 0}),
        ("a.tif", 8_200, "RGB", {"compression": "tiff_lzw"}),
    ],
)  # fmt: skip
def test_a_giant_takes_little_memory(tmp_path: Path, name: str, side: int, mode: str, options: dict[str, Any]) -> None:
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = 6  # turning it must not make a copy
    Image.new(mode, (side, side)).save(path, exif=exif, **options)
    assert read_apart(path, pixels=side**2) == "(3, 224, 224) 0.0"


def test_limits_can_be_moved(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 10)).save(path)
    for options, expected in (
        (ImageOptions(max_pixels=399), "40x10 are 400 pixels: expected at most 399"),
        (ImageOptions(max_aspect_ratio=3.9), "expected an aspect ratio of at most 3.9"),
    ):
        with pytest.raises(ImageError, match=expected):
            load_image(path, options=options)
    assert load_image(path, options=ImageOptions(max_pixels=400, max_aspect_ratio=4)).shape == (3, 10, 40)
    for bad in ({"max_pixels": 0}, {"max_aspect_ratio": 0.5}, {"max_aspect_ratio": float("nan")}, {"resize": "fit"}):
        with pytest.raises(UsageError, match="expected"):
            ImageOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_our_limit_holds_in_place_of_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 10)).save(tmp_path / "a.tif", compression="tiff_lzw")
    Image.new("L", (40, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("a.tif", "a.png"):
        assert load_image(tmp_path / name).shape == (3, 10, 40)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_row_by_row_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int, resize: Any) -> None:
    """A picture whose pixels are picked is the whole one made to fit, bit for bit, whichever way it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(orientation).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    for name in ("a.tif", "packed.tif"):
        packing = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
        Image.fromarray(pixels).save(tmp_path / name, exif=exif, **packing)
        np.testing.assert_array_equal(load_image(tmp_path / name), load_image(path))
    upright = Image.open(path)
    methods = [None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's numbers of Transpose
    method = methods[orientation - 1]
    turned = np.asarray(upright if method is None else upright.transpose(method))  # type: ignore[arg-type]  # an int
    expected = (turned.transpose(2, 0, 1) / 255.0).astype(np.float32)
    for whole in (picture.WHOLE_PIXELS, 0):
        monkeypatch.setattr(picture, "WHOLE_PIXELS", whole)
        np.testing.assert_array_equal(load_image(path), expected)
        for height, width in ((8, 8), (50, 13)):
            found = read_input(path, channels=3, height=height, width=width, options=ImageOptions(resize=resize))
            fitted = preprocess(expected, height=height, width=width, resize=resize)
            assert found.tobytes() == fitted.tobytes()


def save_tiff(path: Path, values: Any) -> Path:
    Image.fromarray(np.asarray(values)).save(path)
    return path


def write_pfm(path: Path, values: np.ndarray[Any, Any]) -> Path:
    height, width = values.shape
    path.write_bytes(b"Pf\n%d %d\n-1.0\n" % (width, height) + values[::-1].astype("<f4").tobytes())
    return path


def test_floats_in_0_to_1_are_taken(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 1], [0.5, 0.125, 0.75]], np.float32)
    for path in (save_tiff(tmp_path / "a.tiff", values), write_pfm(tmp_path / "a.pfm", values)):
        np.testing.assert_array_equal(load_image(path), [values] * 3)
        np.testing.assert_array_equal(load_image(path, channels=1), [values])


@pytest.mark.parametrize("worst", [255.0, -1.0, 1.5, float("inf"), float("nan")])
@pytest.mark.parametrize("place", [0, 5])
def test_other_floats_are_refused(tmp_path: Path, worst: float, place: int) -> None:
    values = np.full((2, 3), 0.5, np.float32)
    values.flat[place] = worst
    for path in (save_tiff(tmp_path / "a.tiff", values), write_pfm(tmp_path / "a.pfm", values)):
        with pytest.raises(ImageError, match=r"32-bit floats .*: expected 0 to 1"):
            load_image(path)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int16])
@pytest.mark.parametrize("white", [255, 30_000])
def test_whole_numbers_of_unknown_white_are_refused(tmp_path: Path, dtype: Any, white: int) -> None:
    path = tmp_path / "a.tiff"
    write_tiff(path, np.full((4, 5), white, dtype))
    with pytest.raises(
        ImageError, match=r"whole numbers of (16|32) bits from .*: expected 8 or 16 bits without a sign"
    ):
        load_image(path)


def write_tiff(path: Path, values: np.ndarray[Any, Any], *, bits: int | None = None) -> None:
    """A grey TIFF file without compression, of any kind of numbers."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits or 8 * values.dtype.itemsize), (259, 3, 1), (262, 3, 1),
        (273, 4, 0), (277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, kind),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        np.array([tag, code], "<u2").tobytes() + np.array([1, start if tag == 273 else value], "<u4").tobytes()
        for tag, code, value in tags
    )
    path.write_bytes(b"II*\0\x08\0\0\0" + np.array([len(tags)], "<u2").tobytes() + entries + bytes(4) + data)


def test_unsigned_16_bits_of_a_tiff(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", np.array([[0, 65535, 257]], np.uint16))
    np.testing.assert_allclose(load_image(tmp_path / "a.tif", channels=1), [[[0, 1, 1 / 255]]], rtol=1e-6)


def test_metadata_that_divides_by_zero(tmp_path: Path) -> None:
    """A phone's EXIF with the rational 0/0 is no reason to refuse the picture, nor to forget how it was held."""
    exif = bytearray(b"Exif\0\0II*\0\x08\0\0\0\x02\0")
    exif += b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"  # orientation 6
    exif += b"\x1a\x01\x05\0\x01\0\0\0\x26\0\0\0" + bytes(4)  # resolution: the rational at 38
    exif += bytes(8)
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (6, 4), (255, 0, 0)).save(path, exif=bytes(exif))
    assert load_image(path).shape == (3, 6, 4)


@pytest.mark.parametrize("damage", [b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
@pytest.mark.filterwarnings("ignore")
def test_metadata_that_cannot_be_read(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (6, 4)).save(path, exif=damage)
    assert load_image(path).shape == (3, 4, 6)


def test_what_pillow_would_hand_to_other_programs_is_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ghostscript would run what an EPS file says, whatever the file is called."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="of no known format"):
        load_image(path, channels=3)
    assert not (tmp_path / "ran").exists()


def test_broken_pixels_are_not_black(tmp_path: Path) -> None:
    """Whatever byte of its pixels is wrong, and whether or not there is metadata to look for."""
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)).save(whole, "PNG")
    path, refused = tmp_path / "a.png", 0
    for place in range(41, 200, 13):
        data = bytearray(whole.getvalue())
        data[place] ^= 1
        path.write_bytes(data)
        try:
            assert load_image(path).any()
        except ImageError as error:
            refused += 1
            assert str(error).startswith(f"{path}: cannot be read as an image: ")
    assert refused


def test_no_room_is_taken_for_what_a_file_has_not(tmp_path: Path) -> None:
    """Chunks of a PNG file say how long they are: up to 2 GiB, for which a reader of files would take memory."""
    path = tmp_path / "a.png"
    path.write_bytes(bytes(100))
    with picture._opened(path) as file:
        assert len(file.read(1 << 62)) == 100


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"an SVG drawing \(export it as PNG\)"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "broken at its start"),
        (bytes(50), "of no known format"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"a.png: cannot be read as an image: {what}"):
        load_image(path)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "CMYK", {}), ("a.tif", "CMYK", {}), ("a.tif", "LAB", {}), ("a.tif", "YCbCr", {}), ("a.png", "LA", {}),
        ("a.png", "1", {}), ("a.bmp", "1", {}), ("a.png", "P", {}), ("a.png", "P", {"transparency": 3}),
        ("a.png", "P", {"transparency": bytes(range(0, 250, 25))}), ("a.png", "RGB", {"transparency": (1, 2, 3)}),
        ("a.png", "RGBA", {}), ("a.webp", "RGBA", {"lossless": True}), ("a.gif", "P", {"save_all": True}),
        ("a.png", "RGB", {"save_all": True}), ("a.webp", "RGB", {"save_all": True}), ("a.tif", "1", {}),
    ],
)  # fmt: skip
def test_modes(tmp_path: Path, name: str, mode: str, options: dict[str, Any]) -> None:
    """Alpha is left away, as darknet does, and of an animation the first frame counts."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    others = {"append_images": [image.rotate(180)] * 2} if "save_all" in options else {}
    image.save(tmp_path / name, **options, **others)
    with Image.open(tmp_path / name) as saved:
        is_p = saved.mode == "P" and "transparency" in saved.info
        expected = np.asarray((saved.convert("RGBA") if is_p else saved).convert("RGB"))
    np.testing.assert_allclose(load_image(tmp_path / name), expected.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(ImageError, match="is a pipe or a device: expected a regular file"):
        load_image(path)


def test_many_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "WHOLE_PIXELS", 0)
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        Image.new("L", (20, 20), number).save(path)
    before, found = Image.MAX_IMAGE_PIXELS, dict[Path, float]()
    threads = [
        threading.Thread(target=lambda path=path: found.update({path: float(load_image(path).max())})) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [round(255 * found[path]) for path in paths] == list(range(8))
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_error_is_one_line_where_pillow_logs_one_besides(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("RGB", (3, 5)).save(path)
    samples = struct.pack("<HHIHH", 277, 3, 1, 3, 0)
    content = path.read_bytes()
    assert samples in content
    path.write_bytes(content.replace(samples, struct.pack("<HHIHH", 277, 3, 1, 2048, 0)))
    program = "import sys, clprune\ntry: clprune.load_image(sys.argv[1])\nexcept clprune.ImageError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: ")
    assert done.stderr == ""
