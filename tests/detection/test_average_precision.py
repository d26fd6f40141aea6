"""Average precision: counted by hand, against pycocotools on made data, and through `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clprune
from clprune import DataError, Detection, Detector, MissingDependencyError
from clprune.dataset import MOST_OBJECTS, Truth
from clprune.detection import Found
from clprune.detection.average_precision import average_precision, score
from clprune.detection.coco import CocoFile
from clprune.detection.truth import label_path, read_darknet_images
from clprune.workflow.evaluate_boxes import DetectionResult
from tests.detection.models import write_detector


def found(x: float, confidence: float, *, class_index: int = 0, width: float = 0.1) -> Detection:
    return Detection(
        class_index=class_index, name="", confidence=confidence, center_x=x, center_y=0.5, width=width, height=0.1
    )


def objects(*places: float, class_index: int = 0) -> list[tuple[int, tuple[float, float, float, float]]]:
    return [(class_index, (x, 0.5, 0.1, 0.1)) for x in places]


def test_counted_by_hand() -> None:
    """Of three objects two are found, by the first and the fourth of five detections; the second finds one again."""
    truth = Truth.of([*objects(0.1, 0.5, 0.9), *objects(0.3, class_index=1)])
    detections = [found(0.1, 0.9), found(0.11, 0.8), found(0.7, 0.7), found(0.52, 0.6), found(0.2, 0.2)]
    scores = score([(truth, detections)], names=("a", "b", "c"), threshold=0.25)
    a, b, c = scores.classes
    assert (a.objects, a.true_positives, a.false_positives) == (3, 2, 2)
    assert a.average_precision == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 4)
    assert (b.average_precision, c.average_precision, c.objects) == (0.0, None, 0)
    assert scores.mean_average_precision == pytest.approx(0.25)
    assert (scores.precision, scores.recall) == (2 / 4, 2 / 4)
    assert scores.f1 == pytest.approx(0.5)
    assert scores.mean_iou == pytest.approx((1 + 0.08 / 0.12) / 4)
    eleven = score([(truth, detections)], names=("a", "b", "c"), points=11)
    assert eleven.classes[0].average_precision == pytest.approx((4 * 1 + 3 * 0.5) / 11)  # recall 0 to .3, .4 to .6


def test_difficult_objects_need_not_be_found_and_may_be() -> None:
    truth = Truth.of(objects(0.1, 0.5), [False, True])
    scores = score([(truth, [found(0.5, 0.9), found(0.1, 0.8)])], names=("a",))
    assert scores.classes[0].objects == 1
    assert scores.classes[0].average_precision == 1
    assert scores.precision == scores.recall == 1


@pytest.mark.parametrize("points", [0, 11, 101])
def test_all_nothing_and_empty(points: int) -> None:
    right = np.array([True, True])
    assert average_precision(right, objects=2, points=points) == 1
    assert average_precision(~right, objects=2, points=points) == 0
    assert average_precision(right[:0], objects=2, points=points) == 0
    assert average_precision(right[:0], objects=0, points=points) is None
    nothing = score([], names=("a",), points=points)
    assert (nothing.mean_average_precision, nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0, 0)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """COCO annotations of pictures whose objects stand apart, in two of three categories; one is a crowd."""
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(20):
        name = f"{number}.png"
        Image.new("RGB", (200, 100)).save(tmp_path / name)
        images.append({"id": 100 + number, "file_name": name, "width": 200, "height": 100})
        for place in range(4):
            box = [50 * place + 5, int(generator.integers(0, 50)), int(generator.integers(20, 40)), 30]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": 100 + number, "bbox": box, "area": box[2] * box[3],
                    "category_id": int(generator.choice([7, 9])), "iscrowd": int(number == place == 0),
                }
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in ((9, "cat"), (7, "dog"), (12, "emu"))]
    path = tmp_path / "instances_made.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def guesses(truth: Truth, generator: np.random.Generator) -> list[Detection]:
    """Two of three objects moved a little, and something else now and then."""
    made = []
    for number, box in zip(truth.classes, truth.boxes, strict=True):
        for _ in range(int(generator.integers(0, 3))):
            x, y, width, height = (box * generator.uniform(0.93, 1.07, 4)).tolist()
            wrong = generator.random() < 0.2
            made.append(
                Detection(
                    class_index=int(number) ^ int(wrong), name="", confidence=float(generator.random()), center_x=x,
                    center_y=y, width=width, height=height,
                )
            )  # fmt: skip
    return sorted(made, key=lambda one: -one.confidence)


def test_as_pycocotools_counts(made: Path) -> None:
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    coco = CocoFile(made, names=("dog", "cat", "emu"))
    assert coco.images.paths[3] == made.parent / "3.png"
    generator = np.random.default_rng(1)
    detections = [guesses(truth, generator) for truth in coco.images.truths]
    results = [Found(image="", height=100, width=200, detections=one) for one in detections]
    statistics = coco.statistics(results)
    ours = score(zip(coco.images.truths, detections, strict=True), names=("dog", "cat", "emu"), points=101)
    assert 0.3 < ours.mean_average_precision < 0.8
    assert ours.mean_average_precision == pytest.approx(statistics["AP50"], abs=1e-9)
    assert statistics["AP large"] is None
    assert ours.objects == 4 * 20 - 1  # all but the crowd
    half = coco.statistics([*results[:10], *[None] * 10])
    assert half["AP50"] != statistics["AP50"]


def test_matches_are_those_of_pycocotools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of all sizes that overlap, some of them equal, with crowds and equal confidences."""
    coco_eval = pytest.importorskip("pycocotools.cocoeval", reason="COCO's annotations need pycocotools").COCOeval
    generator = np.random.default_rng(3)
    document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "a"}]}
    results = []
    for number in range(30):
        Image.new("RGB", (400, 300)).save(tmp_path / f"{number}.png")
        document["images"].append({"id": number, "file_name": f"{number}.png", "width": 400, "height": 300})
        boxes = (generator.integers(1, 5, (number, 4)) * (40, 20, 60, 16)).tolist()
        for box in boxes:
            one = {"id": len(document["annotations"]), "image_id": number, "bbox": box, "category_id": 0}
            document["annotations"].append({**one, "iscrowd": int(generator.random() < 0.2)})
        moved = [np.array(box) + generator.integers(-1, 2, 4) * 4 for box in boxes * 2]
        objects = [
            Detection(
                class_index=0, name="a", confidence=float(generator.integers(1, 6)) / 5, center_x=(x + w / 2) / 400,
                center_y=(y + h / 2) / 300, width=w / 400, height=h / 300,
            )
            for x, y, w, h in moved
        ]  # fmt: skip
        results.append(Found(image="", width=400, height=300, detections=objects))
    path = tmp_path / "instances_many.json"
    path.write_text(json.dumps(document))
    ours = CocoFile(path, names=("a",)).statistics(results)
    monkeypatch.setattr("clprune.detection.coco.evaluate_image", coco_eval.evaluateImg)
    assert ours == CocoFile(path, names=("a",)).statistics(results)
    assert None not in ours.values() and len(set(ours.values())) > 8


def test_no_image_has_more_objects_than_can_be_compared(made: Path) -> None:
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    document = json.loads(made.read_text())
    document["annotations"] += [{**document["annotations"][0], "id": 1000 + number} for number in range(MOST_OBJECTS)]
    made.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"image 100 has 10004 annotations: expected at most 10000"):
        CocoFile(made, names=("dog", "cat", "emu"))


def test_categories_by_name_by_order_or_not_at_all(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    assert CocoFile(made, names=("x", "emu", "cat", "dog")).classes == {7: 3, 9: 2, 12: 1}
    assert CocoFile(made, names=("0", "1", "2")).classes == {7: 0, 9: 1, 12: 2}
    with pytest.raises(DataError, match="3 categories: expected 4, the network's classes"):
        CocoFile(made, names=("0", "1", "2", "3"))
    other = tmp_path / "other.json"
    for text in ("[", "[]", "{}", '{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'):
        other.write_text(text)
        with pytest.raises(DataError, match=r"other.json: (is no COCO|has no images|image 1 has width None)"):
            CocoFile(other, names=("a",))
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(MissingDependencyError, match=r"clprune\[coco\]"):
        CocoFile(made, names=("a",))


def test_a_class_that_the_annotations_lack_costs_nothing_there(made: Path) -> None:
    """The network's names may be more than the categories: what it finds of those is nothing to COCO."""
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    coco = CocoFile(made, names=("dog", "cat", "emu", "yak"))
    generator = np.random.default_rng(1)
    detections = [guesses(truth, generator) for truth in coco.images.truths]
    plain, more = (
        coco.statistics(Found(image="", height=100, width=200, detections=[*one, *others]) for one in detections)
        for others in ([], [found(0.5, 0.99, class_index=3)])
    )
    assert plain == more and plain["AP50"]
    nothing = coco.statistics(
        Found(image="", height=100, width=200, detections=[found(0.5, 0.99, class_index=3)]) for _ in detections
    )
    assert set(nothing.values()) == {0.0}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(("annotations", "bbox", [1, 2, bad, 3]) for bad in (float("nan"), float("inf"), -1, "3", None, True)),
        ("annotations", "bbox", [10**400, 1, 1, 1]),
        *(("annotations", "bbox", bad) for bad in (None, "1234", [1, 2, 3], {"x": 1})),
        *(("annotations", "area", bad) for bad in ("x", float("nan"), [], True)),
        *(("annotations", "iscrowd", bad) for bad in ("no", 2, None, [])), ("annotations", "category_id", 77),
        *(("images", name, bad) for name in ("width", "height") for bad in (0, -32, "32", None, float("nan"))),
        *(("images", "file_name", bad) for bad in (None, 3, ["0.png"])),
    ],
)  # fmt: skip
def test_annotations_that_pycocotools_would_count_with(made: Path, kind: str, name: str, value: object) -> None:
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    document = json.loads(made.read_text())
    document[kind][1][name] = value
    made.write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"made.json: {kind[:-1]} \d+ has {name} .*: expected COCO's annotations"):
        CocoFile(made, names=("dog", "cat", "emu"))


def test_annotations_may_leave_out_what_follows_from_others(made: Path) -> None:
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    document = json.loads(made.read_text())
    whole = CocoFile(made, names=("dog", "cat", "emu"))
    for one in document["annotations"]:
        del one["area"]
        if not one["iscrowd"]:
            del one["iscrowd"]
    document["annotations"].append({**document["annotations"][1], "id": 999, "image_id": 7})
    made.write_text(json.dumps(document))
    with pytest.warns(match="1 of 81 annotations are of images that are not in it, and left out"):
        less = CocoFile(made, names=("dog", "cat", "emu"))
    found_in = [Found(image="", height=100, width=200, detections=guesses(truth, np.random.default_rng(2)))
                for truth in whole.images.truths]  # fmt: skip
    assert less.statistics(found_in) == whole.statistics(found_in)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A .data file whose images lie in `images` and whose labels in `labels`; the last image has none."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n\n2 .1 .2 .1 .1\r\n")
    (tmp_path / "labels" / "1.txt").write_text("")
    (tmp_path / "list.txt").write_text("images/0.png\nimages/1.png\nimages/2.png\n")
    (tmp_path / "boxes.names").write_text("dog\ncat\ncar\n")
    path = tmp_path / "boxes.data"
    path.write_text("classes= 3\n# comment\nvalid = list.txt\nnames = boxes.names\n")
    return path


def test_label_files(labelled: Path) -> None:
    with pytest.warns(match="1 of 3 images have no labels and count as empty: .*2.txt"):
        images = read_darknet_images(labelled, classes=3)
    assert [list(truth.classes) for truth in images.truths] == [[0, 2], [], []]
    assert images.truths[0].boxes.tolist() == [pytest.approx([0.5, 0.5, 0.2, 0.2]), pytest.approx([0.1, 0.2, 0.1, 0.1])]
    label = labelled.parent / "labels" / "0.txt"
    for text, message in (
        ("0 0 0 1", ":1: '0 0 0 1': expected a class, centre x, centre y, width and height"),
        ("\nx 0 0 1 1", ":2: 'x 0 0 1 1': expected a class"),
        ("3 0 0 1 1", ":1: class 3: expected 0 to 2, the network's classes"),
        *(
            (f"0 0 0 {size} 1", f":1: '0 0 0 {size} 1': expected a class.*shares of the image")
            for size in ("nan", "inf", "1e300", "-0.5", "2000")
        ),
        ("0 0 0 1 1\n" * (MOST_OBJECTS + 1), ":10001: more lines: expected at most 10000 objects in an image"),
    ):
        label.write_text(text)
        with pytest.raises(DataError, match=message):
            read_darknet_images(labelled, classes=3)


def test_where_labels_are() -> None:
    for image, label in (
        ("/a/images/val2017/1.jpg", "/a/labels/val2017/1.txt"),
        ("VOC/JPEGImages/1.PNG", "VOC/labels/1.txt"),
        ("photos/a.b.jpeg", "photos/a.b.txt"),
    ):
        assert ("/" + label_path(Path(image)).as_posix()).endswith("/" + label.lstrip("/"))


@pytest.mark.usefixtures("device_context")
@pytest.mark.filterwarnings("ignore:.*have no labels")
def test_evaluate_gives_scores(labelled: Path, tmp_path: Path) -> None:
    """The detector's own sure detections as truth are found, all of them."""
    cfg = write_detector(tmp_path / "model.cfg")
    with Detector(cfg, threshold=0.35) as detector:
        for number in range(3):
            boxes = detector(tmp_path / "images" / f"{number}.png")
            lines = (f"{one.class_index} {one.center_x} {one.center_y} {one.width} {one.height}\n" for one in boxes)
            (tmp_path / "labels" / f"{number}.txt").write_text("".join(lines))
    result = clprune.evaluate(cfg, data=f"darknet:{labelled}", detection=detector.options)
    assert isinstance(result, DetectionResult)
    assert (result.images, result.scores.recall, result.scores.precision) == (3, 1, 1)
    assert result.scores.mean_average_precision == pytest.approx(1)
    assert {one.name for one in result.scores.classes} == {"dog", "cat", "car"}
    assert json.loads(json.dumps(result.to_dict()))["f1"] == 1
    with pytest.raises(clprune.UsageError, match=r"detects objects; data synthetic: expected darknet:FILE.data"):
        clprune.evaluate(cfg, data="synthetic")


@pytest.mark.usefixtures("device_context")
def test_the_first_images_of_coco_alone(tmp_path: Path) -> None:
    """Its statistics are those of the images that were looked at, in classes that are not all of the network's."""
    pytest.importorskip("pycocotools", reason="COCO's annotations need pycocotools")
    cfg, images, annotations = write_detector(tmp_path / "model.cfg"), [], []
    (tmp_path / "model.names").write_text("dog\ncat\nyak\n")
    with Detector(cfg, threshold=0.35, in_pixels=True) as detector:
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
            images.append({"id": number + 1, "file_name": f"{number}.png", "width": 32, "height": 24})
            sure = [one for one in detector(tmp_path / f"{number}.png") if one.class_index < 2]
            for one in sure if number < 2 else []:  # nothing is said of the others, where all that is found is wrong
                left, top, right, bottom = one.corners(width=32, height=24)
                box, area = [left, top, right - left, bottom - top], (right - left) * (bottom - top)
                known = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": one.class_index + 5}
                annotations.append({**known, "bbox": box, "area": area, "iscrowd": 0})
    categories = [{"id": 5, "name": "dog"}, {"id": 6, "name": "cat"}]
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    assert annotations
    first, everything = (clprune.evaluate(cfg, data=f"coco:{path}", count=count) for count in (2, None))
    assert isinstance(first, DetectionResult) and isinstance(everything, DetectionResult)
    assert (first.images, everything.images) == (2, 4)
    assert first.coco is not None and everything.coco is not None and first.coco["AR100"]
    assert first.coco["AR100"] == everything.coco["AR100"]  # an image without objects has none to be missed
    with pytest.raises(DataError, match="2 categories: expected 3, the network's classes"):
        (tmp_path / "model.names").write_text("a\nb\nc\n")
        clprune.evaluate(cfg, data=f"coco:{path}")
