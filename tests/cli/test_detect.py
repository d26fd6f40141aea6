"""`clprune detect`: lines in darknet's style, JSON, pictures, folders, videos, and what a user can get wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clprune import Detector
from tests.cli.conftest import Run
from tests.detection.models import write_detector

pytestmark = pytest.mark.usefixtures("device_context")


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = write_detector(tmp_path / "boxes.cfg")
    path.with_suffix(".names").write_text("dog\nbig cat\ncar/van\n")
    return path


def test_lines_and_boxes_in_darknets_style(run: Run, cfg: Path, images: list[Path]) -> None:
    with Detector(cfg, threshold=0.3) as detector:
        first = detector(images[0])
    result = run("detect", cfg, cfg.with_suffix(".weights"), images[0], "--threshold", "0.3")
    assert result.status == 0
    lines = [f"{one.name}: {100 * one.confidence:.0f}%" for one in first]
    assert result.out.splitlines() == [str(images[0]), *lines]
    assert "stretch to 32x24 as alexeyab does" in result.err
    assert re.search(r"1 of 1 images in [0-9.]+ seconds, [0-9.]+ images/s", result.err)
    boxes = run("detect", cfg, images[0], "--threshold", "0.3", "--boxes").out.splitlines()[1]
    left, top, right, bottom = first[0].corners(width=31, height=17)
    box = (f"{left:4.0f}", f"{top:4.0f}", f"{right - left:4.0f}", f"{bottom - top:4.0f}")
    assert boxes == lines[0] + "\t(left_x: {}   top_y: {}   width: {}   height: {})".format(*box)


def test_json_of_a_folder_and_a_broken_picture(run: Run, cfg: Path, images: list[Path], broken: Path) -> None:
    folder = images[0].parent
    result = run("detect", cfg, folder, "--json", "--threshold", "0.2", "--batch", "2")
    assert result.status == 1
    assert result.error == f"{broken}: cannot be read as an image: of no known format"
    assert "3 of 4 images" in result.err
    with Detector(cfg, threshold=0.2, batch=2) as detector:
        found = list(detector.many(images))
    first, *others = [json.loads(line) for line in result.out.splitlines()]
    assert first == {"image": str(broken), "error": result.error}
    for line, image, detections in zip(others, images, found, strict=True):
        assert list(line) == ["image", "width", "height", "detections"]
        assert (line["image"], line["width"], line["height"]) == (str(image), 31, Image.open(image).height)
        assert line["detections"] == [dataclasses.asdict(one) for one in detections]
        assert all(0.2 < one["confidence"] <= 1 for one in line["detections"])


def test_pictures_and_crops(run: Run, cfg: Path, images: list[Path], tmp_path: Path) -> None:
    """Nothing is overwritten: two pictures of one name, and the folder of the pictures themselves."""
    twin = tmp_path / "twin" / images[0].name
    twin.parent.mkdir()
    twin.write_bytes(images[0].read_bytes())
    before = images[0].read_bytes()
    result = run(
        "detect", cfg, images[0], twin, "--threshold", "0.3", "--out", tmp_path, "--crops", tmp_path / "a" / "crops"
    )
    assert result.status == 0
    assert images[0].read_bytes() == before
    stem = images[0].stem
    drawn = [tmp_path / f"{stem}-2.png", tmp_path / f"{stem}.png", tmp_path / f"{stem}-3.png"]
    assert all(Image.open(path).size == (31, 17) for path in drawn)
    assert (np.asarray(Image.open(drawn[0])) == np.asarray(Image.open(drawn[2]))).all()
    crops = sorted(path.name for path in (tmp_path / "a" / "crops").iterdir())
    assert crops
    assert all(re.fullmatch(r"image0-\d+-(dog|big_cat|car_van)(-2)?\.png", name) for name in crops)


def test_lists_on_stdin(run: Run, cfg: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{image}\n" for image in images).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    result = run("detect", cfg, "--json")
    assert [json.loads(line)["image"] for line in result.out.splitlines()] == [str(image) for image in images]


def test_a_video(run: Run, cfg: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="videos need PyAV")
    from clprune.detection.video import Video, video_writer

    path, out = tmp_path / "noise.mp4", tmp_path / "drawn"
    with video_writer(path, rate=Video.DEFAULT_RATE) as write:
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            write(Image.fromarray(pixels))
    result = run("detect", cfg, path, "--json", "--threshold", "0.2", "--out", out)
    assert result.status == 0
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["image"], line["frame"], line["width"]) for line in lines] == [(str(path), n, 64) for n in range(3)]
    with Video(out / "noise.mp4") as video:
        assert len(list(video)) == 3
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:100])
    result = run("detect", cfg, cut, path)
    assert result.status == 1
    assert result.error.startswith(f"{cut}: cannot be read as a video")
    assert "3 of 4 images" in result.err
    result = run("detect", cfg, path, "--max-pixels", "1000")
    assert result.status == 1
    assert "64 x 48" in result.error or "64x48" in result.error


def test_wrong_usage(run: Run, cfg: Path, model: Path, images: list[Path], tmp_path: Path) -> None:
    short = tmp_path / "short.names"
    short.write_text("one\n")
    data = tmp_path / "short.data"
    data.write_text("names = short.names\n")
    result = run("detect", cfg, images[0], "--data", data)
    assert (result.status, result.error) == (1, f"{data}: 1 names: expected at least 3, the network's classes")
    result = run("detect", model, images[0])
    assert result.status == 2
    assert "ends with layer 4 [softmax]: expected a detector" in result.error
    result = run("detect", cfg, images[0], "--out", images[0])
    assert result.status == 1
    assert result.error.startswith(f"{images[0]}: no folder can be made here: File exists; expected a folder")


def test_eval_of_boxes(run: Run, cfg: Path, images: list[Path], broken: Path, tmp_path: Path) -> None:
    data = tmp_path / "boxes.data"
    data.write_text("valid = list.txt\n")
    (tmp_path / "list.txt").write_text(f"{images[0]}\n{broken}\n{images[1]}\n")
    for image in images:
        image.with_suffix(".txt").write_text("1 .5 .5 .9 .9\n")
    result = run("eval", cfg, "--data", f"darknet:{data}", "--threshold", "0.3", "--points", "101")
    assert result.status == 0
    assert re.search(r"^big cat +[0-9.]+ +2 +\d+ +\d+$", result.out, re.MULTILINE)
    assert re.search(r"^[0-9.]+ % mean average precision of 2 images", result.out, re.MULTILINE)
    assert re.search(r"^above 0.3: precision [0-9.]+, recall [0-9.]+, F1 [0-9.]+, mean IoU", result.out, re.MULTILINE)
    assert f"1 of 3 images cannot be read and are left out (--strict stops): {broken}" in result.err
    found = json.loads(run("eval", cfg, "--data", f"darknet:{data}", "--json", "--count", "1").out)
    assert (found["images"], found["objects"], found["coco"], found["threshold"]) == (1, 1, None, 0.25)
    result = run("eval", cfg, "--data", f"darknet:{data}", "--strict")
    assert (result.status, result.error) == (1, f"{broken}: cannot be read as an image: of no known format")
    (tmp_path / "list.txt").write_text(f"{broken}\n")
    broken.with_suffix(".txt").write_text("1 .5 .5 .9 .9\n")
    result = run("eval", cfg, "--data", f"darknet:{data}")
    assert (result.status, result.out) == (1, "")
    assert f"none of 1 images can be read: {broken}: cannot be read as an image" in result.error
    result = run("eval", cfg, "--data", "coco:")
    assert (result.status, result.error.partition(" (")[0]) == (
        2,
        "data 'coco:': expected darknet:FILE.data or coco:FILE.json",
    )


def test_pictures_named_on_stdin_are_not_overwritten(
    run: Run, cfg: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    second = out / images[0].name
    second.write_bytes(images[1].read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{images[0]}\n{second}\n".encode())))
    assert run("detect", cfg, "--threshold", "0.2", "--out", out).status == 0
    assert second.read_bytes() == images[1].read_bytes()
    assert len(list(out.iterdir())) == 3
