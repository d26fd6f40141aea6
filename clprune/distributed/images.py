"""A network's answers to any number of images, or the objects in them, computed by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client

from clprune.algorithms import Algorithms
from clprune.detection import Detector, Found
from clprune.distributed.jobs import Job, run_job
from clprune.distributed.sources import as_images, seen_from
from clprune.errors import ClpruneError, FileError
from clprune.image import ImageOptions
from clprune.picture import ImageBytes, ImageFile
from clprune.runner import Runner
from clprune.runner.inference import Answer, check_image_network, infer_images
from clprune.workflow.inputs import ModelLike, as_model


def map_images(
    client: Client,
    model: ModelLike,
    source: str | Path | Iterable[ImageFile],
    *,
    batch: int | None = None,
    until: int | None = None,
    in_order: bool = True,
    device: str | None = None,
    algorithms: Algorithms | None = None,
    image_options: ImageOptions | None = None,
) -> Iterator[Answer]:
    """Yield the answer to every image of `source`, exactly one each, in input order or as they come.

    `source` is a folder, a list of paths (`.txt`), a Parquet file, or any iterable of paths and
    `clprune.picture.ImageBytes`; it is read no further than needed, so it may be endless. Workers open the paths,
    `batch` images at once, on the device that `device` selects there (None: by their own CLPRUNE_DEVICE), with the
    tiles that were tuned there. An image that cannot be read gives an Answer with an error. Raises UsageError for a
    network that takes no images, DataError for a source that cannot be read, WorkerError where the scheduler ends, and
    what Runner raises on a worker.

    >>> with distributed.Client("tcp://127.0.0.1:8786") as client:  # doctest: +SKIP
    ...     for answer in clprune.distributed.map_images(client, "model.cfg", "photos"):
    ...         print(answer.path, answer.values.argmax())
    """
    model = as_model(model, batch=batch)
    check_image_network(model.network)
    job = Job(
        open=partial(Runner, model, until=until, device=device, algorithms=algorithms),
        answer=partial(_answer, options=image_options or ImageOptions(), folder=str(Path.cwd())),
        lost=lambda image, error: Answer(path=str(image), error=error),
        size_bytes=_size_bytes,
    )
    return run_job(client, job, as_images(source), first_items=model.network.batch, in_order=in_order)


def _answer(runner: Runner, images: Sequence[ImageFile], *, options: ImageOptions, folder: str) -> list[Answer]:
    answers = infer_images(runner, runner.network, seen_from(folder, images), options=options)
    return [
        replace(answer, path=str(image), error=_named(answer.error, image))
        for answer, image in zip(answers, images, strict=True)
    ]


def detect_images(
    client: Client,
    model: ModelLike,
    source: str | Path | Iterable[ImageFile],
    *,
    batch: int | None = None,
    in_order: bool = True,
    **settings: Any,
) -> Iterator[Found]:
    """Yield the objects in every image of `source`: what `map_images` is for a detector.

    `settings` are those of `clprune.Detector`. Of the images themselves nothing comes back.
    """
    model = as_model(model, batch=batch)
    job = Job(
        open=partial(Detector, model, **settings),
        answer=partial(_detect, folder=str(Path.cwd())),
        lost=lambda image, error: Found(image=str(image), error=error),
        size_bytes=_size_bytes,
    )
    return run_job(client, job, as_images(source), first_items=model.network.batch, in_order=in_order)


def _detect(detector: Detector, images: Sequence[ImageFile], *, folder: str) -> list[Found]:
    found = detector.stream(seen_from(folder, images))
    return [
        replace(one, image=str(image), picture=None, error=_named(one.error, image))
        for one, image in zip(found, images, strict=True)
    ]


def _named(error: ClpruneError | None, image: ImageFile) -> ClpruneError | None:
    """The error of an image by the path that it was given, not by where the worker found it."""
    if not isinstance(error, FileError):
        return error
    beginning = str(FileError("", path=error.path))
    return type(error)(str(error).removeprefix(beginning), path=str(image))


def _size_bytes(image: ImageFile) -> int:
    return len(image.data) if isinstance(image, ImageBytes) else len(str(image))
