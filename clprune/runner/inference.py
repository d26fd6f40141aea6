"""From image files to a network's answers: decode, make fit, run in batches, pick the best classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.darknet.network import Network
from clprune.errors import ClpruneError, FileError, ImageError, UsageError
from clprune.image import ImageOptions, read_input
from clprune.picture import ImageFile

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What came of one image: `values` float32 `[outputs]`, or the `error` that says why there are none.

    `seconds` is the image's share of the time that its batch took on the device, copies included.
    """

    path: str
    values: FloatArray | None = None
    error: ClpruneError | None = None
    seconds: float = 0.0


def check_image_network(network: Network) -> None:
    """Raise UsageError unless `network` takes images of 1 (grey) or 3 (RGB) channels."""
    if network.input.channels not in (1, 3):
        raise UsageError(
            f"{network.path}: takes {network.input}; images have 1 channel (grey) or 3 (RGB), expected one of these"
        )


def image_input(network: Network, path: ImageFile, *, options: ImageOptions) -> FloatArray:
    """An image file as `network` wants it: float32 `[C, H, W]` in 0..1. Raises ImageError.

    A `[crop]` at the network's beginning cuts its centre on the device, and scales it: here the image is made to fit
    the size before the crop, as darknet does.
    """
    shape = network.input
    return read_input(path, channels=shape.channels, height=shape.height, width=shape.width, options=options)


def infer_images(
    run: Callable[[FloatArray], FloatArray], network: Network, paths: Iterable[ImageFile], *, options: ImageOptions
) -> Iterator[Answer]:
    """Yield the answer to every image, in order, as soon as its batch of `network.batch` images has run.

    `run` maps float32 `[N, C, H, W]` to `[N, outputs]`: a Runner. An image that cannot be read gives an Answer with
    an error; the others still run. `paths` is read only as far as needed, so it may be a stream. Raises UsageError
    when the network takes no images.
    """
    check_image_network(network)
    waiting: list[Answer | tuple[str, FloatArray]] = []
    images = 0
    for path in paths:
        try:
            waiting.append((str(path), image_input(network, path, options=options)))
            images += 1
        except ImageError as error:
            waiting.append(Answer(path=str(path), error=error))
        if images in (0, network.batch):
            yield from _run_waiting(run, waiting)
            waiting, images = [], 0
    yield from _run_waiting(run, waiting)


def _run_waiting(
    run: Callable[[FloatArray], FloatArray], waiting: list[Answer | tuple[str, FloatArray]]
) -> Iterator[Answer]:
    inputs = [item[1] for item in waiting if not isinstance(item, Answer)]
    if not inputs:
        yield from (item for item in waiting if isinstance(item, Answer))
        return
    start = time.perf_counter()
    values = iter(run(np.stack(inputs)))
    seconds = (time.perf_counter() - start) / len(inputs)
    for item in waiting:
        yield item if isinstance(item, Answer) else _answer(item[0], next(values), seconds)


def _answer(path: str, values: FloatArray, seconds: float) -> Answer:
    """An answer with NaN in it is none: softmax over overflown values, for instance."""
    if not np.all(np.isfinite(values)):
        return Answer(path=path, error=FileError("the network's answer is not finite", path=path), seconds=seconds)
    return Answer(path=path, values=values, seconds=seconds)


def top_k(values: npt.NDArray[np.floating], *, count: int) -> npt.NDArray[np.intp]:
    """Indices of the `count` largest of `values` `[outputs]`, largest first; ties keep the lower index.

    Fewer where there are fewer values. Raises UsageError for a count below 1.
    """
    if count < 1:
        raise UsageError(f"top {count}: expected at least 1")
    return np.argsort(-values, kind="stable")[:count]
