"""`Detector`: one answer for every kind of image and batch, the real model's right answer, drawing, videos."""

from __future__ import annotations

import gc
import itertools
import json
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clprune import DataError, Detection, Detector, ImageError, MissingDependencyError, Model, UsageError, load_image
from clprune.darknet.network import load_network
from clprune.darknet.values import Weights
from clprune.detection import drawing, lettering
from clprune.detection.drawing import class_colour, crop_object, draw_objects
from clprune.detection.lettering import font_for, plain
from clprune.detection.video import Video, video_writer
from clprune.image import ImageOptions
from tests.detection.models import shared_model, write_detector

pytestmark = pytest.mark.usefixtures("device_context")


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    return write_detector(tmp_path / "small.cfg")


@pytest.fixture
def pixels() -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (30 + seed, 50, 3), dtype=np.uint8) for seed in range(5)]


def test_the_real_models_right_answer() -> None:
    folder = shared_model()
    expected = json.loads((folder / "dog-expected.json").read_text())
    names = folder / "coco.names"
    with Detector(folder / "yolo-fastest-1.1.cfg", names=names) as detector:
        found = detector(folder / "dog.png")
    expected.sort(key=lambda one: -one["confidence"])
    assert [one.name for one in found] == [one["name"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.confidence == pytest.approx(other.pop("confidence"), abs=1e-3)
        for key in ("center_x", "center_y", "width", "height"):
            assert getattr(one, key) == pytest.approx(other[key], abs=1e-3)


def test_every_kind_of_image_and_batch_gives_the_same(cfg: Path, pixels: list[np.ndarray], tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, values in zip(paths, pixels, strict=True):
        Image.fromarray(values).save(path)
    with Detector(cfg, threshold=0.2) as detector:
        alone = [detector(path) for path in paths]
        assert [detector(values) for values in pixels] == alone
        assert [detector(Image.open(path)) for path in paths] == alone
        assert detector.names == ("0", "1", "2")
    assert all(alone)
    assert all(sure.confidence >= less.confidence for found in alone for sure, less in itertools.pairwise(found))
    with Detector(cfg, threshold=0.2, batch=2) as detector:
        together = list(detector.many(paths))
    for found, other in zip(together, alone, strict=True):
        assert [one.class_index for one in found] == [one.class_index for one in other]
        assert [one.confidence for one in found] == pytest.approx([one.confidence for one in other], abs=1e-5)


@pytest.mark.slow
def test_memory_stays_as_it_is(cfg: Path) -> None:
    """Python's, of which every array of an image is a part; a picture is 360 KB, what is found some KB. What is held
    grows in every round, where it does: another test's thread may allocate in one of them.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    with Detector(cfg, threshold=0.4, batch=2) as detector:
        found = list(detector.many([pixels] * 9))
        assert len(found) == 9 and min(map(len, found)) > 20
        tracemalloc.start()
        try:
            held = [_held_bytes(detector, [pixels] * 21) for _ in range(4)]
        finally:
            tracemalloc.stop()
    assert min(later - earlier for earlier, later in itertools.pairwise(held)) < 20_000


def _held_bytes(detector: Detector, images: list[np.ndarray]) -> int:
    for _ in detector.many(images):
        pass
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_what_cannot_be(cfg: Path, tmp_path: Path) -> None:
    names = tmp_path / "two.names"
    names.write_text("one\ntwo\n")
    with pytest.raises(DataError, match="2 names: expected at least 3, the network's classes"):
        Detector(cfg, names=names)
    plain = tmp_path / "plain.cfg"
    plain.write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\n")
    with pytest.raises(UsageError, match=r"plain.cfg: ends with layer 0 \[maxpool\]: expected a detector"):
        Detector(Model(network=load_network(plain), weights=Weights(layers=(None,))))
    with Detector(cfg) as detector:
        with pytest.raises(ImageError, match="no such file"):
            detector(tmp_path / "absent.png")
        with pytest.raises(UsageError, match=r"image float64 of shape \(3, 4, 4\): expected uint8"):
            detector(np.zeros((3, 4, 4)))


def object_at(x: float, y: float, width: float, height: float, *, class_index: int = 0) -> Detection:
    return Detection(
        class_index=class_index, name="a long name", confidence=0.5, center_x=x, center_y=y, width=width, height=height
    )


@pytest.mark.parametrize("size", [(400, 300), (60, 90)])
@pytest.mark.parametrize("shade", [0, 255])
def test_labels_lie_inside_the_picture_and_do_not_cover_each_other(size: tuple[int, int], shade: int) -> None:
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    corners = [object_at(0, 0, 0.2, 0.2), object_at(1, 1, 0.1, 0.1, class_index=1)]
    same = [object_at(0.5, 0.5, 0.3, 0.3, class_index=number) for number in (2, 3)]
    drawn = np.asarray(draw_objects(pixels, [*corners, *same]))
    assert drawn.shape == pixels.shape
    filled = [int((drawn == class_colour(number)).all(axis=2).sum()) for number in range(4)]
    assert min(filled) > 200  # of each label enough is seen
    assert (pixels == shade).all()


def test_names_in_any_letters_on_any_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a font that has the letters, else by those that are known, else by the number; short where it is narrow."""
    assert plain("na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve") == "naive"
    assert plain("\N{CJK UNIFIED IDEOGRAPH-81EA}") == ""
    assert font_for("dog", 9) is not None
    monkeypatch.setattr("clprune.detection.lettering._names", lambda: (None,))
    assert font_for("\N{CJK UNIFIED IDEOGRAPH-81EA}", 9) is None
    pixels = np.zeros((32, 32, 3), np.uint8)
    strange = replace(object_at(0.5, 0.5, 0.5, 0.5, class_index=7), name="\N{CJK UNIFIED IDEOGRAPH-81EA}")
    drawn = [np.asarray(draw_objects(pixels, [one])) for one in (strange, replace(strange, name="#7"))]
    assert (drawn[0] == drawn[1]).all()
    assert np.asarray(draw_objects(pixels, [replace(strange, name="x" * 99)])).shape == pixels.shape
    many = [replace(strange, class_index=number) for number in range(9)]  # more labels than there is room for
    seen = [
        int((np.asarray(draw_objects(pixels, many)) == class_colour(number)).all(axis=2).sum()) for number in (0, 1)
    ]
    assert min(seen) > 100


def test_long_names_are_cut_where_the_picture_ends_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (300, 200))
    draw = ImageDraw.Draw(image)
    texts: list[str] = []

    def width(draw: ImageDraw.ImageDraw, text: str, size: int) -> int:
        texts.append(text)
        return label_width(draw, text, size)

    label_width = drawing._label_width
    monkeypatch.setattr(drawing, "_label_width", width)
    text, _, size = drawing._fitting_text(draw, replace(object_at(0, 0, 1, 1), name="xi" * 100_000), image)
    assert len(texts) < 16 and max(map(len, texts)) < 310
    length = text.index("\N{HORIZONTAL ELLIPSIS}")
    longer = ("xi" * 200)[: length + 1] + text[length:]
    assert label_width(draw, text, size) <= image.width < label_width(draw, longer, size)


@pytest.mark.skipif(sys.platform != "linux", reason="folders of fonts are others elsewhere")
def test_fonts_are_those_of_the_system_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a file of the working folder, whoever put it there."""
    for folder in (".", "fonts", "system/fonts/truetype"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "DejaVuSans.ttf").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", ".")
    monkeypatch.setenv("XDG_DATA_DIRS", f"{tmp_path / 'system'}::.")
    monkeypatch.setattr("clprune.detection.lettering._opens", lambda path: True)
    expected = tmp_path / "system" / "fonts" / "truetype" / "DejaVuSans.ttf"
    assert lettering._names.__wrapped__() == (None, str(expected))


def test_crops_are_what_the_box_shows() -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    inside = crop_object(pixels, object_at(0.25, 0.5, 0.5, 0.4))
    assert inside is not None
    assert (np.asarray(inside) == pixels[3:7, 0:10]).all()
    over = crop_object(pixels, object_at(0, 0, 0.2, 0.2))
    assert over is not None
    assert over.size == (2, 1)
    assert crop_object(pixels, object_at(-1, 0, 0.2, 0.2)) is None


def test_videos_in_and_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="videos need PyAV")
    path = tmp_path / "grey.mp4"
    shades = (40, 120, 200)
    with video_writer(path, rate=Video.DEFAULT_RATE) as write:
        for shade in shades:
            write(Image.new("RGB", (65, 48), (shade,) * 3))
    with Video(path) as video:
        frames = list(video)
        assert video.rate == Video.DEFAULT_RATE
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [float(frame.mean()) for frame in frames] == pytest.approx(shades, abs=4)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    with pytest.raises(ImageError, match=r"broken.mp4: cannot be read as a video"):
        Video(broken)
    broken.write_text(f"ffconcat version 1.0\nfile {path.name}\n")
    with pytest.raises(ImageError, match=r"broken.mp4: cannot be read as a video"):
        Video(broken)  # a list: it would open other files, or addresses
    with pytest.raises(ImageError, match="64x48 are 3072 pixels"):
        Video(path, options=ImageOptions(max_pixels=1000))  # its header says so, and nothing is decoded
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'clprune\[video\]'"):
        Video(path)


def test_frames_that_are_larger_than_the_header_says_are_not_decoded(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="videos need PyAV")
    parts = []
    for width, height in ((64, 48), (640, 480)):
        part = tmp_path / f"{width}.mpg"
        with av.open(part, "w", format="mpeg") as container:
            stream = container.add_stream("mpeg1video", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for _ in range(8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8))))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
    both = tmp_path / "both.mpg"
    both.write_bytes(parts[0] * 30 + parts[1])
    with Video(both, options=ImageOptions(max_pixels=64 * 48)) as video:
        shapes = []
        with pytest.raises(ImageError, match=r"both.mpg: breaks off"):
            shapes.extend(frame.shape for frame in video)
    with Video(both) as video:
        assert {frame.shape for frame in video} == {(48, 64, 3), (480, 640, 3)}


def test_grey_networks_take_colour_images(tmp_path: Path) -> None:
    cfg = tmp_path / "grey.cfg"
    write_detector(cfg, channels=1)
    colours = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "x.png")
    with Detector(cfg, threshold=0.1) as detector:
        assert detector(colours) == detector(tmp_path / "x.png")
        assert load_image(tmp_path / "x.png", channels=1).shape == (1, 24, 32)
