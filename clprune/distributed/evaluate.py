"""`evaluate`: accuracy of a model on labelled images, computed by the workers of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn

from distributed import Client

from clprune.data.folder import ImageFiles
from clprune.dataset import DataSet
from clprune.device import DeviceInfo
from clprune.distributed.jobs import Job, run_job
from clprune.errors import UsageError, WorkerError
from clprune.image import ImageOptions
from clprune.progress import OnProgress, Progress
from clprune.runner import Runner
from clprune.runner.evaluate import Evaluation
from clprune.runner.evaluate import evaluate as run_images
from clprune.workflow.evaluate import EvaluateResult
from clprune.workflow.evaluate_boxes import is_box_data
from clprune.workflow.inputs import Data, ModelLike, as_data, as_model, data_name


def evaluate(
    client: Client,
    model: ModelLike,
    *,
    data: Data,
    count: int | None = None,
    batch: int | None = None,
    device: str | None = None,
    image_options: ImageOptions | None = None,
    progress: OnProgress | None = None,
) -> EvaluateResult:
    """What `clprune.evaluate` finds, computed by workers; the result's device is that of the first answer.

    Image files are opened by the workers, which must see the same paths. Raises what `clprune.evaluate` raises, and
    WorkerError where the scheduler ends or workers die with the same images again and again.
    """
    if is_box_data(data):
        raise UsageError(f"data {data!r}: a detector is evaluated on one device; leave out workers")
    model = as_model(model, batch=batch)
    images = as_data(
        data, model.network, split="test", count=count, image_options=image_options, names_file=model.names_file,
        progress=progress,
    )  # fmt: skip
    job = Job(open=partial(Runner, model, device=device), answer=_evaluate, lost=_give_up, size_bytes=_size_bytes)
    start = time.perf_counter()
    total, found_on = Evaluation(images=0, correct=0, top5_correct=0), None
    for found, where in run_job(client, job, _parts(images, model.network.batch), in_order=False):
        names = ("images", "correct", "top5_correct")
        total = Evaluation(**{name: getattr(total, name) + getattr(found, name) for name in names})
        found_on = found_on or where
        if progress is not None:
            place = f"{total.images}/{len(images)} images"
            progress(Progress(stage="evaluation", done=total.images, total=len(images), place=place))
    assert found_on is not None  # no data set is empty
    return EvaluateResult(
        model=str(model.path), data=data_name(data), images=total.images, accuracy=total.accuracy,
        top5_accuracy=total.top5_accuracy, seconds=time.perf_counter() - start, device=found_on,
    )  # fmt: skip


def _parts(data: DataSet, batch: int) -> Iterator[DataSet]:
    """The set in parts of `batch` images; files are left to be read by those who get them."""
    images = data.images
    for first in range(0, len(data), batch):
        part = slice(first, first + batch)
        chosen = replace(images, paths=images.paths[part]) if isinstance(images, ImageFiles) else images[part]
        yield replace(data, images=chosen, labels=data.labels[part], renew=None, origin=None)


def _evaluate(runner: Runner, parts: Sequence[DataSet]) -> list[tuple[Evaluation, DeviceInfo]]:
    return [(run_images(runner, runner.network, part), runner.session.info) for part in parts]


def _size_bytes(part: DataSet) -> int:
    images = part.images
    return sum(map(len, map(str, images.paths))) if isinstance(images, ImageFiles) else images[:].nbytes


def _give_up(part: DataSet, error: WorkerError) -> NoReturn:
    raise error
