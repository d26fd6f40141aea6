"""`evaluate` of a detector: average precision on images whose objects are known, computed on a device."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clprune.algorithms import Algorithms
from clprune.container.model import Model
from clprune.darknet.data_file import NAMES_KEYS, read_data_file
from clprune.data.source import BOX_DATA
from clprune.dataset import DataWarning
from clprune.detection import DetectionOptions, Detector, Found
from clprune.detection.average_precision import Scores, score
from clprune.detection.coco import CocoFile
from clprune.detection.truth import LabelledImages, read_darknet_images
from clprune.device import DeviceInfo
from clprune.errors import DataError, UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress, Progress

#: Least confidence of a detection that counts for the average precision: darknet's `detector map` and `detector valid`.
_LEAST = {"darknet": 0.005, "coco": 0.001}


@dataclass(frozen=True, kw_only=True)
class DetectionResult:
    """How well a detector finds the objects in `images`; with COCO's annotations also `coco`, COCO's own statistics.

    `seconds` is the time of all, reading the images included.
    """

    model: str
    data: str
    images: int
    scores: Scores
    coco: dict[str, float | None] | None
    seconds: float
    device: DeviceInfo

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        own = {name: value for name, value in vars(self).items() if name not in ("scores", "device")}
        return {**own, **self.scores.to_dict(), **self.device.facts}


def is_box_data(data: object) -> bool:
    """Whether `data` names images with boxes."""
    return isinstance(data, str) and data.partition(":")[0] in _LEAST


def evaluate_boxes(
    model: Model,
    *,
    data: str,
    count: int | None = None,
    options: DetectionOptions | None = None,
    iou: float = 0.5,
    points: int = 0,
    session: Session,
    algorithms: Algorithms | None = None,
    image_options: ImageOptions | None = None,
    progress: OnProgress | None = None,
) -> DetectionResult:
    """Find the objects in the first `count` images of `data` and score them. Raises what `evaluate` does."""
    kind, _, path = data.partition(":")
    if not path:
        raise UsageError(f"data {data!r}: expected {' or '.join(BOX_DATA)}")
    options = options or DetectionOptions(dialect=model.dialect.name)
    image_options = image_options or ImageOptions()
    if kind == "darknet" and model.names_file is None:
        model = dataclasses.replace(model, names_path=read_data_file(path).file(*NAMES_KEYS))
    coco = CocoFile(path, names=model.names) if kind == "coco" else None
    images = coco.images if coco is not None else read_darknet_images(path, classes=model.network.classes)
    images = LabelledImages(paths=images.paths[:count], truths=images.truths[:count])
    settings = {**dataclasses.asdict(options), "threshold": _LEAST[kind], "in_pixels": coco is not None}
    with Detector(model, session=session, algorithms=algorithms, image_options=image_options, **settings) as detector:
        start = time.perf_counter()
        found = list(_found(detector, images, is_strict=image_options.strict, progress=progress))
        seconds = time.perf_counter() - start
    good = [(truth, one.detections) for truth, one in zip(images.truths, found, strict=True) if one is not None]
    return DetectionResult(
        model=str(model.path),
        data=data,
        images=len(good),
        scores=score(good, names=model.names, iou=iou, threshold=options.threshold, points=points),
        coco=None if coco is None else coco.statistics([*found, *[None] * (len(coco.images.paths) - len(found))]),
        seconds=seconds,
        device=session.info,
    )


def _found(
    detector: Detector, images: LabelledImages, *, is_strict: bool, progress: OnProgress | None
) -> Iterator[Found | None]:
    """What was found in each image; None, with a `DataWarning` in the end, for one that cannot be read. Raises
    DataError where none can be.
    """
    total, faults = len(images.paths), []
    ahead = 2 * detector.network.batch
    for done, found in enumerate(detector.stream(images.paths, ahead=ahead), start=1):
        if found.error is not None and is_strict:
            raise found.error
        if found.error is not None:
            faults.append(str(found.error))
        yield None if found.error is not None else dataclasses.replace(found, picture=None)
        if progress is not None:
            progress(Progress(stage="evaluation", done=done, total=total, place=f"{done}/{total} images"))
    if faults and len(faults) == total:
        raise DataError(f"none of {total} images can be read: {faults[0]}", path=images.paths[0].parent)
    if faults:
        text = f"{len(faults)} of {total} images cannot be read and are left out (--strict stops): {faults[0]}"
        warnings.warn(DataWarning(text), stacklevel=2)
