"""`darknet detector test`, `map` and `valid`, in AlexeyAB's words. Source: detector.c of AlexeyAB/darknet, and image.c,
network.c for what is printed and written.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.detect import text_line
from clprune.cli.infer import print_line
from clprune.cli.shared.darknet_words import Words, base_name
from clprune.cli.shared.errors import print_error
from clprune.errors import DataError, FileError
from clprune.files import check_folder, check_writable, write_atomically

if TYPE_CHECKING:
    from clprune.detection import Detection, Detector, Found

#: COCO's numbers of the 80 classes of coco.names.
_COCO_NUMBERS = [number for number in range(1, 91) if number not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
_PREDICTIONS = Path("predictions.jpg")
_USES = """
Set -points flag:
 `-points 101` for MS COCO\x20
 `-points 11` for PascalVOC 2007 (uncomment `difficult` in voc.data)\x20
 `-points 0` (AUC) for ImageNet, PascalVOC 2010-2012, your custom dataset"""


def test(words: Words) -> bool:
    """Print the objects in images, draw them into predictions.jpg; True unless an image could not be read."""
    out = None if words.dialect == "pjreddie" else words.flags.get("-out")
    for path in (_PREDICTIONS, *([] if out is None else [Path(out)])):
        check_writable(path)
    records: list[str] = []
    failures = 0
    with _detector(words, threshold=words.number("-thresh", 0.25), nms=0.45) as detector:
        for found in detector.stream(words.images()):
            failures += found.error is not None
            if found.error is not None:
                print_error(click.format_filename(str(found.error)))
                continue
            seconds = found.seconds
            time = f"{seconds:f} seconds" if words.dialect == "pjreddie" else f"{1000 * seconds:f} milli-seconds"
            boxes = _boxes(found.detections)
            if words.dialect != "pjreddie":  # from left to right, the surest class of each before its others
                boxes.sort(key=lambda box: box[0].center_x - box[0].width / 2)
                boxes = [_surest_first(box) for box in boxes]
            shown = [one for box in boxes for one in box]
            lines = (text_line(found, one, boxes="-ext_output" in words.flags) for one in shown)
            print_line("\n".join([f"{found.image}: Predicted in {time}.", *lines]))
            _write_predictions(found)
            records.append(_record(found, len(records) + 1))
            if "-save_labels" in words.flags:
                _write_labels(found)
    if out is not None:
        write_atomically(out, "[\n" + ", \n".join(records) + "\n]")
    return not failures


def average_precision(words: Words) -> bool:
    """Print the average precision of each class on the list `valid=`."""
    from clprune.container.model import load_model
    from clprune.detection import DetectionOptions
    from clprune.workflow.evaluate import evaluate
    from clprune.workflow.evaluate_boxes import DetectionResult

    points, iou = words.whole("-points", 0), words.number("-iou_thresh", 0.5)
    threshold = words.number("-thresh", 0.25)
    names = words.data.file("names", "labels")
    result = evaluate(
        load_model(*words.model, names=names, dialect=words.dialect), data=f"darknet:{words.data.path}", iou=iou,
        points=points, device=words.device,
        detection=DetectionOptions(threshold=threshold, resize=_resize(words), dialect=words.dialect),
    )  # fmt: skip
    assert isinstance(result, DetectionResult)
    scores = result.scores
    lines = [
        "\n calculation mAP (mean average precision)...\n",
        f" detections_count = {scores.detections}, unique_truth_count = {scores.objects}  ",
    ]
    for number, one in enumerate(scores.classes):
        counts = f"(TP = {one.true_positives}, FP = {one.false_positives})"
        lines.append(
            f"class_id = {number}, name = {one.name}, ap = {100 * (one.average_precision or 0):.2f}%   \t {counts} "
        )
    hits, misses = scores.true_positives, scores.objects - scores.true_positives
    mean = sum(one.average_precision or 0 for one in scores.classes) / len(scores.classes)
    lines += [
        f"\n for conf_thresh = {threshold:.2f}, precision = {scores.precision:.2f}, recall = {scores.recall:.2f}, "
        f"F1-score = {scores.f1:.2f} ",
        f" for conf_thresh = {threshold:.2f}, TP = {hits}, FP = {scores.false_positives}, FN = {misses}, "
        f"average IoU = {100 * scores.mean_iou:.2f} % ",
        f"\n IoU threshold = {100 * iou:2.0f} %, "
        + (f"used {points} Recall-points " if points else "used Area-Under-Curve for each unique Recall "),
        f" mean average precision (mAP@{iou:.2f}) = {mean:f}, or {100 * mean:.2f} % ",
    ]
    print_line("\n".join([*lines, _USES]))
    click.echo(f"Total Detection Time: {result.seconds:.0f} Seconds", err=True)
    return True


def valid(words: Words) -> bool:
    """Write what is found in the list `valid=` into the folder `results=`: for COCO one JSON file, for ImageNet one of
    text, else one of text for each class, as PascalVOC wants them.
    """
    data = words.data
    kind, folder = data.options.get("eval", "voc"), data.file("results") or Path("results")
    if kind not in ("coco", "imagenet", "voc"):
        raise DataError(f"eval={kind}: expected coco, imagenet or voc", path=data.path)
    if not folder.is_dir():
        raise FileError("no such folder: make it first (results= in the .data file)", path=folder)
    check_folder(folder)
    images, is_pjreddies = data.images("valid"), words.dialect == "pjreddie"
    threshold, nms = (0.005, 0.45) if is_pjreddies else (0.001, 0.6)
    class_map = data.numbers("map")
    with _detector(words, threshold=threshold, nms=nms, class_map=class_map, in_pixels=True) as detector:
        names = detector.names
        if kind == "coco" and not class_map and len(names) > len(_COCO_NUMBERS):
            raise DataError(f"eval=coco: {len(names)} classes: expected at most {len(_COCO_NUMBERS)}", path=data.path)
        found = list(_good(detector.stream(images, ahead=4)))
    if kind == "coco":
        lines = ",\n".join(line for one in found for line in _coco_lines(one))
        write_atomically(folder / f"{words.flags.get('-out', 'coco_results')}.json", f"[\n{lines}\n]\n")
    elif kind == "imagenet":
        numbers = {str(path): number for number, path in enumerate(images, start=1)}
        text = "".join(
            f"{numbers[str(one.image)]} {box.class_index + 1} {_six(box.confidence, *_corners(one, box))}\n"
            for one in found
            for box in one.detections
        )
        write_atomically(folder / f"{words.flags.get('-out', 'imagenet-detection')}.txt", text)
    else:
        for number, name in enumerate(names):
            text = "".join(
                f"{base_name(Path(str(one.image)))} {_six(box.confidence, *_corners(one, box, first=1))}\n"
                for one in found
                for box in one.detections
                if box.class_index == number
            )
            write_atomically(folder / f"{words.flags.get('-out', 'comp4_det_test_')}{name.replace('/', '_')}.txt", text)
    return len(found) == len(images)


def _detector(words: Words, *, threshold: float, nms: float, **options: Any) -> Detector:
    from clprune.detection import Detector

    return Detector(
        *words.model, names=words.data.file("names", "labels"), threshold=threshold, nms=nms, resize=_resize(words),
        dialect=words.dialect, in_order=True, hierarchy=words.number("-hier", 0.5), device=words.device,
        **options,
    )  # fmt: skip


def _resize(words: Words) -> Any:
    return "letterbox" if "-letter_box" in words.flags else None


def _boxes(detections: Sequence[Detection]) -> list[list[Detection]]:
    """The detections of each box, whose classes are several at times."""
    boxes: dict[tuple[float, ...], list[Detection]] = {}
    for one in detections:
        boxes.setdefault((one.center_x, one.center_y, one.width, one.height), []).append(one)
    return list(boxes.values())


def _surest(box: Sequence[Detection]) -> Detection:
    return max(box, key=lambda one: one.confidence)


def _surest_first(box: Sequence[Detection]) -> list[Detection]:
    best = _surest(box)
    return [best, *(one for one in box if one is not best)]


def _record(found: Found, number: int) -> str:
    """What `-out` holds of an image (detection_to_json)."""
    objects = ", \n".join(
        f'  {{"class_id":{one.class_index}, "name":{json.dumps(one.name, ensure_ascii=False)}, '
        f'"relative_coordinates":{{"center_x":{one.center_x:f}, "center_y":{one.center_y:f}, '
        f'"width":{one.width:f}, "height":{one.height:f}}}, "confidence":{one.confidence:f}}}'
        for one in found.detections
    )
    image = json.dumps(click.format_filename(str(found.image)), ensure_ascii=False)
    return f'{{\n "frame_id":{number}, \n "filename":{image}, \n "objects": [ \n{objects}\n ] \n}}'


def _write_predictions(found: Found) -> None:
    from clprune.detection.drawing import draw_objects

    assert found.picture is not None
    data = io.BytesIO()
    draw_objects(found.picture.pixels(), found.detections).save(data, "JPEG", quality=95)
    write_atomically(_PREDICTIONS, data.getvalue())


def _write_labels(found: Found) -> None:
    """The surest class of each box as the image's label file."""
    from clprune.detection.truth import label_path

    boxes = _boxes(found.detections)
    text = "".join(
        f"{one.class_index} {one.center_x:2.4f} {one.center_y:2.4f} {one.width:2.4f} {one.height:2.4f}\n"
        for one in map(_surest, boxes)
    )
    write_atomically(label_path(Path(str(found.image))), text)


def _good(stream: Iterable[Found]) -> Iterator[Found]:
    """Those without an error, which is said of the others; pictures are let go."""
    for found in stream:
        if found.error is None:
            yield dataclasses.replace(found, picture=None)
        else:
            print_error(click.format_filename(str(found.error)))


def _corners(found: Found, one: Detection, *, first: int = 0) -> tuple[float, float, float, float]:
    """Left, right, top, bottom in pixels counted from `first`, inside the image."""
    left, top, right, bottom = (side + first for side in one.corners(width=found.width, height=found.height))
    return max(left, first), min(right, found.width), max(top, first), min(bottom, found.height)


def _coco_lines(found: Found) -> Iterator[str]:
    # AlexeyAB's looks for the number at the name's beginning alone, and takes 0 for COCO_val2014_000000000042
    image = base_name(Path(str(found.image))).rpartition("_")[2]
    number = int("0" + "".join(itertools.takewhile(str.isdecimal, image)))
    for one in found.detections:
        left, right, top, bottom = _corners(found, one)
        yield (
            f'{{"image_id":{number}, "category_id":{_COCO_NUMBERS[one.class_index]}, '
            f'"bbox":[{left:f}, {top:f}, {right - left:f}, {bottom - top:f}], "score":{one.confidence:f}}}'
        )


def _six(confidence: float, left: float, right: float, top: float, bottom: float) -> str:
    return f"{confidence:f} {left:f} {top:f} {right:f} {bottom:f}"
