"""`Detector`: from images to the objects in them, on an OpenCL device."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clprune.algorithms import Algorithms
from clprune.container.model import Model, load_model
from clprune.darknet.dialect import Dialect
from clprune.darknet.kinds.heads import Head
from clprune.detection.objects import Detection, find_objects
from clprune.detection.options import DetectionOptions
from clprune.errors import ClpruneError, ImageError, UsageError
from clprune.image import FloatArray, ImageOptions, Resize, fit_picture
from clprune.opencl import Session
from clprune.picture import ImageBytes, ImageFile, Picture, open_picture
from clprune.runner import Runner

#: A file's path or bytes, a PIL image, or pixels uint8 `[H, W, 3]`, red, green, blue.
ImageLike: TypeAlias = "ImageFile | Image.Image | NDArray[np.uint8]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What came of one image: its `detections`, best first, or the `error` that says why there are none.

    `height` and `width` are the image's in pixels; `picture` is the image itself. `seconds` is its share of the time
    that its batch took on the device, copies included.
    """

    image: ImageLike
    height: int = 0
    width: int = 0
    picture: Picture | None = None
    detections: Sequence[Detection] = ()
    error: ClpruneError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """An image that was read: what is known of it so far, and `x` float32 `[C, H, W]` unless there is an error."""

    found: Found
    x: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))


class Detector:
    """Finds objects: `detector(image)` gives those of one image, best first.

    An image is a path, a PIL image or an array uint8 `[H, W, 3]`. `model` and `weights` are as for `Runner`, `names` is
    a file of class names, by default that beside the weights or the cfg. `threshold` to `in_order` are those of
    `clprune.detection.DetectionOptions`, `image_options` limit what image files are read. Use it as a context manager,
    or call `close()`.

    Raises UsageError for a network without heads or one that takes no images, DataError for names that are too few, and
    what `load_model` and `Runner` raise; a call raises ImageError for a file that cannot be read, and ClpruneError for
    an answer that is not finite.

    >>> with clprune.Detector("detector.cfg", threshold=0.01) as detector:
    ...     all(isinstance(found, clprune.Detection) for found in detector("digit-3.png"))
    True
    """

    def __init__(
        self,
        model: str | Path | Model,
        weights: str | Path | None = None,
        *,
        names: str | Path | None = None,
        threshold: float = 0.25,
        nms: float = 0.45,
        resize: Resize | None = None,
        dialect: Dialect | None = None,
        hierarchy: float = 0.5,
        class_map: Sequence[int] = (),
        in_pixels: bool = False,
        in_order: bool = False,
        image_options: ImageOptions | None = None,
        batch: int = 1,
        device: str | None = None,
        session: Session | None = None,
        algorithms: Algorithms | None = None,
    ) -> None:
        if not isinstance(model, Model):
            model = load_model(model, weights, names=names, batch=batch, dialect=dialect)
        elif names is not None:
            model = replace(model, names_path=Path(names))
        self.options = DetectionOptions(
            threshold=threshold, nms=nms, resize=resize, dialect=dialect or model.dialect.name, hierarchy=hierarchy,
            class_map=tuple(class_map), in_pixels=in_pixels, in_order=in_order,
        )  # fmt: skip
        self.network = model.network
        self.names = model.first_names(len(class_map) or model.network.classes)
        last = self.network.output_layers[-1]
        if not isinstance(last, Head):
            raise UsageError(f"{self.network.path}: ends with {last}: expected a detector, with [yolo] for instance")
        if self.network.input.channels not in (1, 3):
            raise UsageError(f"{self.network.path}: takes {self.network.input}: expected 1 channel (grey) or 3 (RGB)")
        self._resize = self.options.resize_for(self.network)
        self._image_options = image_options or ImageOptions()
        self.runner = Runner(model, device=device, session=session, algorithms=algorithms)

    def __call__(self, image: ImageLike) -> list[Detection]:
        """The objects of one image, best first."""
        (detections,) = self.many([image])
        return detections

    def many(self, images: Iterable[ImageLike]) -> Iterator[list[Detection]]:
        """The objects of each image, in order, best first; the next images are read while others run."""
        for found in self.stream(images, ahead=2 * self.network.batch):
            if found.error is not None:
                raise found.error
            yield list(found.detections)

    def stream(self, images: Iterable[ImageLike], *, ahead: int = 0) -> Iterator[Found]:
        """What came of each image, in order: an image that cannot be read gives an error, the others still run.

        Images run `batch` at once. Up to `ahead` more than that are read meanwhile by threads, and `images` is read no
        further, so that it may be a stream.
        """
        waiting: list[_Prepared] = []
        for prepared in _in_threads(self._read, images, ahead=ahead):
            waiting.append(prepared)
            if sum(other.found.error is None for other in waiting) in (0, self.network.batch):
                yield from self._run(waiting)
                waiting = []
        yield from self._run(waiting)

    def _read(self, image: ImageLike) -> _Prepared:
        shape = self.network.input
        try:
            picture = _open(image, self._image_options)
            x = fit_picture(
                picture, channels=shape.channels, height=shape.height, width=shape.width, resize=self._resize
            )
        except ImageError as error:
            return _Prepared(found=Found(image=image, error=error))
        height, width = picture.size
        return _Prepared(found=Found(image=image, height=height, width=width, picture=picture), x=x)

    def _run(self, batch: Sequence[_Prepared]) -> Iterator[Found]:
        good = [prepared.x for prepared in batch if prepared.found.error is None]
        start = time.perf_counter()
        outputs = self.runner.outputs(np.stack(good)) if good else ()
        seconds = (time.perf_counter() - start) / max(len(good), 1)
        index = 0
        for prepared in batch:
            found = prepared.found
            if found.error is not None:
                yield found
                continue
            values = [of_head[index] for of_head in outputs]
            index += 1
            try:
                detections = find_objects(
                    self.network, values, names=self.names, size=(found.height, found.width), options=self.options
                )
                yield replace(found, detections=detections, seconds=seconds)
            except ClpruneError as error:
                yield replace(found, error=error, seconds=seconds)

    def close(self) -> None:
        """Release the device's memory; calling it twice is harmless."""
        self.runner.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(image: ImageLike, options: ImageOptions) -> Picture:
    if isinstance(image, (str, Path, ImageBytes)):
        return open_picture(image, options=options)
    if isinstance(image, Image.Image):
        return Picture(image, orientation=1, path="image")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UsageError(f"image {image.dtype} of shape {image.shape}: expected uint8 [height, width, 3]")
    return Picture(Image.fromarray(image), orientation=1, path="image")


def _in_threads(
    read: Callable[[ImageLike], _Prepared], images: Iterable[ImageLike], *, ahead: int
) -> Iterator[_Prepared]:
    """`read(image)` of each, in order, up to `ahead` of them begun by threads before they are wanted."""
    waiting: deque[Future[_Prepared]] = deque()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for image in images:
            waiting.append(pool.submit(read, image))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
