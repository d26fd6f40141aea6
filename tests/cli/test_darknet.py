"""`clprune darknet`: what scripts that call darknet give and get."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import clprune
from clprune import Detector
from clprune.detection import DetectionOptions
from tests.cli.conftest import Run
from tests.detection.models import shared_model, write_detector

pytestmark = pytest.mark.usefixtures("device_context")


@pytest.fixture
def data(tmp_path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A .data file of a detector that lies beside it, with two images and their labels; the working folder."""
    monkeypatch.chdir(tmp_path)
    write_detector(tmp_path / "boxes.cfg")
    (tmp_path / "boxes.names").write_text("dog\ncat\n../van\n")
    (tmp_path / "valid.txt").write_text(f"{images[0].name}\n{images[1].name}\n")
    for image in images[:2]:
        image.with_suffix(".txt").write_text("1 .5 .5 .9 .9\n")
    path = tmp_path / "boxes.data"
    path.write_text("classes=3\nnames=boxes.names\nvalid=valid.txt\nresults=found\n")
    (tmp_path / "found").mkdir()
    return path


def test_the_real_models_lines(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As AlexeyAB's darknet prints them: from left to right, and in JSON by class."""
    folder = shared_model()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco.data").write_text(f"classes=80\nnames={folder / 'coco.names'}\n")
    stem = folder / "yolo-fastest-1.1"
    shutil.copy(folder / "dog.png", tmp_path)
    result = run(
        "darknet", "detector", "test", "coco.data", f"{stem}.cfg", f"{stem}.weights", "dog.png", "-ext_output",
        "-dont_show", "-thresh", ".25", "-out", "found.json", "-i", "0", "-save_labels",
    )  # fmt: skip
    assert result.status == 0
    first, *lines = result.out.splitlines()
    assert re.fullmatch(r"dog.png: Predicted in \d+\.\d{6} milli-seconds\.", first)
    assert lines[0] == "person: 33%\t(left_x:   63   top_y:   73   width:   48   height:   46)"
    assert [line.partition("\t")[0] for line in lines[1:]] == [
        "bicycle: 28%", "cat: 55%", "dog: 65%", "bicycle: 55%", "car: 38%", "car: 88%", "car: 43%",
    ]  # fmt: skip
    (frame,) = json.loads((tmp_path / "found.json").read_text())
    assert (frame["frame_id"], frame["filename"]) == (1, "dog.png")
    labels = [line.split() for line in (tmp_path / "dog.txt").read_text().splitlines()]
    assert [int(number) for number, *_ in labels] == [one["class_id"] for one in frame["objects"]]
    expected = json.loads((folder / "dog-expected.json").read_text())
    assert [one["name"] for one in frame["objects"]] == [one["name"] for one in expected]
    for one, other in zip(frame["objects"], expected, strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-3)
        assert one["relative_coordinates"] == pytest.approx(
            {key: other[key] for key in one["relative_coordinates"]}, abs=1e-3
        )
    assert Image.open("predictions.jpg").size == (768, 576)


def test_images_are_asked_for(
    run: Run, data: Path, images: list[Path], broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{images[0]}\n{broken}\n{images[1]}\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    result = run("darknet", "detector", "test", data, "boxes.cfg", "boxes.weights", "-save_labels", "-nogpu")
    assert result.status == 1
    assert result.error == f"{broken}: cannot be read as an image: of no known format"
    assert result.out.count("Enter Image Path: ") == 4
    assert result.out.count(": Predicted in ") == 2
    with Detector("boxes.cfg", device="cpu") as detector:
        best = detector(images[0])
    lines = images[0].with_suffix(".txt").read_text().splitlines()
    assert len(lines) == len({(one.center_x, one.center_y, one.width, one.height) for one in best})
    assert all(re.fullmatch(r"[012]( -?\d\.\d{4}){4}", line) for line in lines)


def test_map(run: Run, data: Path) -> None:
    result = run("darknet", "detector", "map", data, "boxes.cfg", "boxes.weights", "-points", "11", "-thresh", "0.3")
    assert result.status == 0
    options = DetectionOptions(threshold=0.3, dialect="alexeyab")
    scores = clprune.evaluate("boxes.cfg", data=f"darknet:{data}", points=11, detection=options).scores
    cat = next(one for one in scores.classes if one.name == "cat")
    assert cat.average_precision is not None
    counts = f"(TP = {cat.true_positives}, FP = {cat.false_positives}) "
    line = f"class_id = 1, name = cat, ap = {100 * cat.average_precision:.2f}%   \t {counts}"
    assert line in result.out.splitlines()
    shares = f"precision = {scores.precision:.2f}, recall = {scores.recall:.2f}, F1-score"
    assert f" for conf_thresh = 0.30, {shares}" in result.out
    assert re.search(r"^ detections_count = \d+, unique_truth_count = 2  $", result.out, re.M)
    assert "IoU threshold = 50 %, used 11 Recall-points" in result.out
    mean = sum(one.average_precision or 0 for one in scores.classes) / 3  # darknet counts classes without objects
    assert f" mean average precision (mAP@0.50) = {mean:.6f}, or {100 * mean:.2f} % " in result.out.splitlines()


@pytest.mark.parametrize("kind", ["voc", "coco", "imagenet"])
def test_valid(run: Run, data: Path, images: list[Path], kind: str) -> None:
    data.write_text(f"{data.read_text()}eval={kind}\n")
    assert run("darknet", "detector", "valid", data, "boxes.cfg").status == 0
    with Detector("boxes.cfg", threshold=0.001, nms=0.6, in_pixels=True) as detector:
        found = [detector(image) for image in images[:2]]
    count = sum(map(len, found))
    folder = data.parent / "found"
    if kind == "voc":
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == [f"comp4_det_test_{name}.txt" for name in (".._van", "cat", "dog")]
        lines = [line for file in files for line in file.read_text().splitlines()]
        assert re.fullmatch(r"image0 0\.\d{6}( \d+\.\d{6}){4}", lines[0])
    elif kind == "coco":
        lines = json.loads((folder / "coco_results.json").read_text())
        assert {line["category_id"] for line in lines} == {1, 2, 3}
        assert {line["image_id"] for line in lines} == {0}  # image0 and image1 begin with no number
        assert all(min(line["bbox"]) >= 0 for line in lines)
    else:
        lines = (folder / "imagenet-detection.txt").read_text().splitlines()
        assert re.fullmatch(r"1 [123] 0\.\d{6}( \d+\.\d{6}){4}", lines[0])
    assert len(lines) == count


def test_classifiers(
    run: Run, model: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.names").write_text("".join(f"image{number}\n" for number in range(10)))
    data = tmp_path / "ten.data"
    data.write_text("classes=10\nlabels=ten.names\nvalid=valid.txt\ntop=10\n")
    (tmp_path / "valid.txt").write_text("".join(f"{image.name}\n" for image in images))
    predict = ("darknet", "classifier", "predict", data, model, model.with_suffix(".weights"), images[0])
    result = run(*predict, "-t", "2")
    assert re.fullmatch(r"( ?\d+\.\d\d%: image\d\n){2}", result.out)
    assert re.search(r"image0.png: Predicted in \d+\.\d{6} seconds\.", result.err)
    plain = run("infer", model, images[0], "--top", "2", "--names", data).out.splitlines()[1:]
    assert result.out.splitlines() == plain
    assert re.search(r"^image\d: 0\.\d{6}$", run(*predict, "-dialect", "alexeyab").out, re.M)
    first, *_, last = run("darknet", "classifier", "valid", data, model).out.splitlines()
    assert re.fullmatch(r".*, \d+, 0\.\d{6}, 0\.\d{6}, ", first)
    assert last.endswith("top 10: 1.000000")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["detector"], 2, "detector: expected one of detector test, detector map, detector valid, classifier predict"),
        (["detector", "train", "a", "b"], 2, "detector train: expected one of"),
        (["detector", "test", "a"], 2, "1 words: expected DATA CFG [WEIGHTS [IMAGE]]"),
        (["detector", "test", "a", "b", "-x"], 2, "unknown flag -x: expected one of -dialect"),
        (["detector", "test", "a", "b", "-thresh", "x"], 2, "-thresh 'x': expected a number"),
        (["detector", "test", "a", "b", "-thresh"], 2, "-thresh without a value"),
        (["detector", "test", "none.data", "boxes.cfg"], 1, "none.data: no such file"),
        (["detector", "valid", "other.data", "boxes.cfg"], 1, "other.data: eval=kitti: expected coco, imagenet or voc"),
        (["detector", "map", "other.data", "boxes.cfg"], 1, "other.data: has no valid=: expected a .data file"),
    ],
)
def test_wrong_usage(run: Run, data: Path, words: list[str], status: int, message: str) -> None:
    (data.parent / "other.data").write_text("eval=kitti\n")
    result = run("darknet", *words)
    assert result.status == status
    assert result.error.startswith(message)
