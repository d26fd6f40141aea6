"""COCO's annotations and average precision, by pycocotools (the extra `coco`), which is imported where it is used."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clprune.dataset import MOST_OBJECTS, DataWarning, Truth
from clprune.detection.coco_match import evaluate_image
from clprune.detection.detector import Found
from clprune.detection.truth import LabelledImages
from clprune.errors import DataError, MissingDependencyError, shown
from clprune.files import open_file

#: What COCOeval's `stats` are, in their order; AR is the average recall of so many detections of an image.
STATISTICS = (
    "AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR1", "AR10", "AR100", "AR small", "AR medium",
    "AR large",
)  # fmt: skip


#: Pixels, areas and places are smaller.
MOST = 1e12


class CocoFile:
    """An annotations file of COCO whose categories are the classes `names`: those called like them, or else in the
    order of their numbers.

    Raises DataError for a file that is none, or has other categories, and MissingDependencyError.
    """

    def __init__(self, path: str | Path, *, names: Sequence[str]) -> None:
        self.path = Path(path)
        self._coco = _load(self.path)
        try:
            called = {number: str(self._coco.cats[number]["name"]) for number in sorted(self._coco.cats)}
            self._images = [self._coco.imgs[number] for number in sorted(self._coco.imgs)]
            self.classes = _category_classes(self.path, called, names)
            truths = [self._truth(image) for image in self._images]
            files = [str(image["file_name"]) for image in self._images]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"is no COCO annotations file: {type(error).__name__} {error}", path=path) from error
        self.images = LabelledImages(paths=_located(self.path, files), truths=tuple(truths))

    def _truth(self, image: Any) -> Truth:
        objects, crowds, own = [], [], self._coco.imgToAnns.get(image["id"], ())
        if len(own) > MOST_OBJECTS:
            message = f"image {shown(image['id'])} has {len(own)} annotations: expected at most {MOST_OBJECTS}"
            raise DataError(message, path=self.path)
        for one in own:
            left, top, width, height = one["bbox"]
            box = (left + width / 2) / image["width"], (top + height / 2) / image["height"]
            objects.append((self.classes[one["category_id"]], (*box, width / image["width"], height / image["height"])))
            crowds.append(bool(one["iscrowd"]))
        return Truth.of(objects, crowds)

    def statistics(self, found: Iterable[Found | None]) -> dict[str, float | None]:
        """COCO's average precisions and recalls of what was found in each of `images`, in their order; None stands for
        an image that is left out, and for a statistic without objects (no small ones, say).
        """
        numbers = {index: number for number, index in self.classes.items()}
        results, seen = [], []
        for image, objects in zip(self._images, found, strict=True):
            if objects is None:
                continue
            seen.append(image["id"])
            for one in objects.detections:
                if one.class_index not in numbers:  # a class that the annotations do not know
                    continue
                left, top, right, bottom = one.corners(width=objects.width, height=objects.height)
                left, top = max(left, 0.0), max(top, 0.0)
                box = [left, top, min(right, objects.width) - left, min(bottom, objects.height) - top]
                of_one = {"image_id": image["id"], "category_id": numbers[one.class_index], "bbox": box}
                results.append({**of_one, "score": one.confidence})
        if not results:
            return dict.fromkeys(STATISTICS, 0.0)
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._coco, self._coco.loadRes(results), "bbox")
            evaluation.params.imgIds = seen
            evaluation.evaluateImg = functools.partial(evaluate_image, evaluation)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = map(float, evaluation.stats)
        return {name: value if value >= 0 else None for name, value in zip(STATISTICS, values, strict=True)}


def _load(path: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise MissingDependencyError("COCO's annotations need pycocotools: pip install 'clprune[coco]'") from error
    with open_file(path, error=DataError):  # missing, a pipe: said as of other files
        pass
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            coco = COCO(str(path))
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
            raise DataError(f"is no COCO annotations file: {type(error).__name__}", path=path) from error
    if not getattr(coco, "imgs", None) or not getattr(coco, "cats", None):
        raise DataError("has no images or no categories: expected a COCO annotations file", path=path)
    for image in coco.imgs.values():
        _check(image, {"width": _is_side, "height": _is_side, "file_name": _is_text}, "image", path)
    for one in coco.anns.values():
        _check(one, {"bbox": _is_box, "category_id": coco.cats.__contains__}, "annotation", path)
        one.setdefault("area", float(one["bbox"][2]) * float(one["bbox"][3]))
        one.setdefault("iscrowd", 0)
        _check(one, {"area": _is_number, "iscrowd": (0, 1).__contains__}, "annotation", path)
    lost = sum(one["image_id"] not in coco.imgs for one in coco.anns.values())
    if lost:
        text = f"{path}: {lost} of {len(coco.anns)} annotations are of images that are not in it, and left out"
        warnings.warn(DataWarning(text), stacklevel=4)
    return coco


def _check(entry: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]], what: str, path: Path) -> None:
    """Raise DataError where a field breaks its rule: pycocotools would count on with anything."""
    for name, rule in rules.items():
        value = entry.get(name)
        if not rule(value):
            message = f"{what} {shown(entry.get('id'))} has {name} {shown(value)}: expected COCO's annotations"
            raise DataError(message, path=path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def _is_side(value: Any) -> bool:
    return _is_number(value) and value >= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)) and min(value[2:]) >= 0


def _category_classes(path: Path, called: dict[int, str], names: Sequence[str]) -> dict[int, int]:
    """Category number -> class."""
    if set(called.values()) <= set(names):
        return {number: names.index(name) for number, name in called.items()}
    if len(called) != len(names):
        raise DataError(f"{len(called)} categories: expected {len(names)}, the network's classes", path=path)
    return {number: index for index, number in enumerate(called)}


def _located(path: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """Where the images are: beside the file, in `images`, or in a folder called like the end of the file's name
    (`val2017` for `annotations/instances_val2017.json`), there or one above.
    """
    split, above = path.stem.rpartition("_")[2], path.resolve().parent.parent
    places = [Path(), Path("images"), Path(split), Path("images") / split]
    folders = [parent / place for parent in (path.parent, above) for place in places]
    folder = next((folder for folder in folders if (folder / files[0]).exists()), None)
    if folder is None:
        tried = ", ".join(map(str, folders))
        raise DataError(f"its first image, {files[0]}, is in none of {tried}: expected it there", path=path)
    return tuple(folder / file for file in files)
