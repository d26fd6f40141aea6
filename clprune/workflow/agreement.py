"""Pictures without labels: a network's own answers in the place of labels, and how far another one agrees with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from clprune.container.model import Model
from clprune.darknet.kinds.functions import Softmax
from clprune.dataset import DataSet
from clprune.detection.agreement import LEAST, SURE, agreement, as_truth, detections_of
from clprune.errors import UsageError
from clprune.opencl import Session
from clprune.progress import OnProgress
from clprune.runner import Runner
from clprune.runner.evaluate import CHUNK_IMAGES, evaluate

FloatArray = npt.NDArray[np.float32]

#: What is added to the name of images whose labels are a network's own answers.
_OWN = ", by the dense network's answers"


def with_own_answers(session: Session, model: Model, data: DataSet) -> DataSet:
    """Images without labels with the answers of `model` in their place: classes, or of a detector the sure objects.

    Labelled ones as they are. Raises UsageError where a detector is sure of nothing in any of them, and for networks
    that answer for each place.
    """
    if data.is_labelled:
        return data
    network = model.network
    last = network.output_layers[0]
    if isinstance(last, Softmax) and last.spatial:
        raise UsageError(f"{model.path}: {last} answers for each place: expected a classifier or a detector")
    with Runner(model, session=session) as runner:
        if not last.is_head:
            answers = [runner(images).argmax(axis=1) for images in _chunks(data)]
            names = tuple(map(str, range(network.outputs)))
            labels = np.concatenate(answers).astype(np.int64)
            return replace(data, name=data.name + _OWN, labels=labels, class_names=names)
        found = [one for part in _chunks(data) for one in detections_of(network, runner.outputs(part), least=SURE)]
    if not any(found):
        text = f"{model.path} is sure of no object in {len(data)} held-out pictures of {data.name}"
        raise UsageError(f"{text}: expected pictures of what it detects")
    return replace(data, name=data.name + _OWN, truths=tuple(map(as_truth, found)))


def accuracy_on(session: Session, model: Model, data: DataSet, *, progress: OnProgress | None = None) -> float:
    """Share of the images that a model has right, or as far as a detector agrees with their `truths`: 0 to 1."""
    with Runner(model, session=session) as runner:
        if data.truths is None:
            return evaluate(runner, model.network, data, progress=progress).accuracy
        network = runner.network
        found = [one for part in _chunks(data) for one in detections_of(network, runner.outputs(part), least=LEAST)]
        return agreement(network, data.truths, found)


def _chunks(data: DataSet) -> Iterator[FloatArray]:
    for first in range(0, len(data), CHUNK_IMAGES):
        yield data.batch(slice(first, min(first + CHUNK_IMAGES, len(data))))
