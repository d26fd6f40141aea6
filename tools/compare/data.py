"""Images that are drawn or decoded once and kept in a file, so that all runs see the same and none waits for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from clprune.darknet.network import Network
from clprune.data import DataSet, Split
from clprune.errors import DataError
from clprune.files import atomic_writer
from clprune.workflow.inputs import as_data


def cached_data(
    folder: Path, spec: str, network: Network, *, split: Split, count: int | None, seed: int = 0
) -> DataSet:
    """What `as_data` gives, the same images in every epoch, from `folder` where it was kept before.

    Raises what `as_data` raises, and DataError for a damaged file.
    """
    request = repr((spec, split, network.input.height, network.input.width, count, seed))
    path = folder / f"images-{split}-{hashlib.sha256(request.encode()).hexdigest()[:12]}.npz"
    if not path.exists():
        loaded = as_data(spec, network, split=split, seed=seed, count=count)
        facts = {"name": loaded.name, "labels": loaded.labels, "class_names": loaded.class_names}
        with atomic_writer(path) as file:
            np.savez(file, images=loaded.images[np.arange(len(loaded))], **facts)
    try:
        with np.load(path) as kept:
            names = tuple(str(name) for name in kept["class_names"])
            return DataSet(name=str(kept["name"]), images=kept["images"], labels=kept["labels"], class_names=names)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected cached images ({error}); remove the file", path=path) from error
