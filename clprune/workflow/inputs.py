"""What every function here takes: a model, images and a device, each as a user would name it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clprune.container.model import Model, load_model
from clprune.darknet.names import read_names
from clprune.darknet.network import Network, check_data
from clprune.data import DataSet, Split, load_data
from clprune.detection.options import DetectionOptions
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session, open_device
from clprune.progress import OnProgress

#: A cfg with its weights beside it, or what `load_model` made of one.
ModelLike: TypeAlias = "str | Path | Model"
#: `NAME[:PATH]` as for `--data`, a DataSet, or (images uint8 `[N, C, H, W]`, labels `[N]`).
Data: TypeAlias = "str | DataSet | tuple[npt.NDArray[Any], npt.NDArray[Any]]"
#: A device as for `--device` (None: the default), or one that is open and stays so.
Device: TypeAlias = "str | Session | None"


def as_model(model: ModelLike, weights: str | Path | None = None, *, batch: int | None = None) -> Model:
    """The model itself, or the one that is read from a path, for `batch` images at once. Raises what `load_model` does.

    `weights` beside a path are those of a file of their own. Raises UsageError for a model that was loaded for another
    batch.
    """
    if not isinstance(model, Model):
        return load_model(model, weights, batch=1 if batch is None else batch)
    if batch not in (None, model.network.batch):
        raise UsageError(f"batch {batch} for a model of batch {model.network.batch}: load_model(..., batch={batch})")
    return model


def as_data(
    data: Data,
    network: Network,
    *,
    split: Split,
    seed: int = 0,
    count: int | None = None,
    image_options: ImageOptions | None = None,
    names_file: Path | None = None,
    progress: OnProgress | None = None,
) -> DataSet:
    """Images in the size of the network's input, `count` of them drawn by `seed`; arrays and DataSets as they are.

    Classes of image files take the places that `names_file` gives them. Raises UsageError when they do not fit the
    network, and what `clprune.data.load_data` raises.
    """
    if isinstance(data, str):
        shape = network.input
        if network.output_layers[0].is_head:
            resize = DetectionOptions(dialect=network.dialect.name).resize_for(network)
            image_options = replace(image_options or ImageOptions(), resize=resize)
        found = load_data(
            data, split=split, height=shape.height, width=shape.width, seed=seed, count=count,
            channels=shape.channels, options=image_options, progress=progress,
        )  # fmt: skip
        if found.origin is not None and names_file is not None:
            found = found.in_order_of(read_names(names_file)[: network.outputs], path=names_file)
    elif isinstance(data, DataSet):
        found = data
    else:
        images, labels = map(np.asarray, data)
        if images.ndim != 4 or images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            found_types = f"images {images.dtype} of shape {images.shape}, labels {labels.dtype}"
            raise UsageError(f"{found_types}: expected images uint8 [N, C, H, W] and labels of whole numbers [N]")
        names = tuple(str(index) for index in range(int(labels.max(initial=0)) + 1))
        found = DataSet(name="arrays", images=images, labels=labels.astype(np.int64), class_names=names)
    if not isinstance(data, str) and count is not None and count < len(found):
        found = found.drawn(count, seed=seed)
    check_data(network, found)
    return found


def load_splits(
    data: Data,
    network: Network,
    *,
    held_out: Data | None = None,
    seed: int = 0,
    count: int | None = None,
    **reading: Any,
) -> tuple[DataSet, DataSet | None]:
    """(training images, held-out images or None) in the network's size, `reading` them as `as_data` does.

    Raises UsageError when they do not fit it.
    """
    if held_out is None and isinstance(data, str):
        held_out = data
    images = as_data(data, network, split="train", seed=seed, count=count, **reading)
    return images, None if held_out is None else as_data(held_out, network, split="test", **reading)


def data_name(data: Data) -> str:
    """What a result calls the images."""
    return data if isinstance(data, str) else data.name if isinstance(data, DataSet) else "arrays"


def opened(device: Device) -> AbstractContextManager[Session]:
    """The device, open within the block; one that came open stays so. Raises NoDeviceError."""
    return nullcontext(device) if isinstance(device, Session) else open_device(device)
