"""`evaluate`: accuracy of a model on labelled images, computed on a device."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from clprune.algorithms import Algorithms
from clprune.data.source import BOX_DATA
from clprune.detection import DetectionOptions
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.progress import OnProgress
from clprune.runner import Runner
from clprune.runner.evaluate import evaluate as run_images
from clprune.workflow.evaluate_boxes import DetectionResult, evaluate_boxes, is_box_data
from clprune.workflow.inputs import Data, Device, ModelLike, as_data, as_model, data_name, opened


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Shares of `images` that a model has right, 0 to 1: as its best guess, and among its five best.

    `seconds` is the time of all, preparing the images included.
    """

    model: str
    data: str
    images: int
    accuracy: float
    top5_accuracy: float
    seconds: float
    device: DeviceInfo

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return vars(self) | self.device.facts


def evaluate(
    model: ModelLike,
    *,
    data: Data,
    count: int | None = None,
    batch: int | None = None,
    device: Device = None,
    algorithms: Algorithms | None = None,
    image_options: ImageOptions | None = None,
    detection: DetectionOptions | None = None,
    iou: float = 0.5,
    points: int = 0,
    progress: OnProgress | None = None,
) -> EvaluateResult | DetectionResult:
    """Run the held-out images of `data` through `model` on a device and count the right answers.

    `data` is a name as for `--data`, a DataSet, or arrays (images uint8 `[N, C, H, W]`, labels `[N]`); at most `count`
    images of it, `batch` at once, files read as `image_options` (`clprune.image.ImageOptions`) say. Raises UsageError
    when data and model do not fit, DataError, NoDeviceError, what Runner raises, and ClpruneError when an answer is not
    finite.

    A detector wants `darknet:FILE.data` or `coco:FILE.json` and gives a `DetectionResult`: average precision with
    detections right from an `iou` on, over `points` of recall (0: the whole curve), precision and recall above
    `detection.threshold`.

    >>> result = clprune.evaluate("model.cfg", data="synthetic", count=20)
    >>> result.images, 0 <= result.accuracy <= result.top5_accuracy <= 1
    (20, True)
    """
    model = as_model(model, batch=batch)
    if is_box_data(data):
        with opened(device) as session:
            return evaluate_boxes(
                model, data=str(data), count=count, options=detection, iou=iou, points=points, session=session,
                algorithms=algorithms, image_options=image_options, progress=progress,
            )  # fmt: skip
    if model.network.output_layers[0].is_head:
        raise UsageError(f"{model.path} detects objects; data {data_name(data)}: expected {' or '.join(BOX_DATA)}")
    images = as_data(
        data,
        model.network,
        split="test",
        count=count,
        image_options=image_options,
        names_file=model.names_file,
        progress=progress,
    )
    with opened(device) as session, Runner(model, session=session, algorithms=algorithms) as runner:
        start = time.perf_counter()
        found = run_images(runner, model.network, images, progress=progress)
        seconds = time.perf_counter() - start
        return EvaluateResult(
            model=str(model.path),
            data=data_name(data),
            images=found.images,
            accuracy=found.accuracy,
            top5_accuracy=found.top5_accuracy,
            seconds=seconds,
            device=session.info,
        )
