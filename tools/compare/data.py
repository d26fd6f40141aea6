"""Images in the size of a network's input; and such that are drawn or decoded once and kept in a file, so that all runs
see the same and none waits for them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from clprune.darknet.network import Network
from clprune.data import DataSet, Split, load_data
from clprune.errors import DataError
from clprune.files import atomic_writer


def network_data(network: Network, spec: str, *, split: Split, count: int | None, seed: int = 0) -> DataSet:
    """What `load_data` loads in the size of the network's input. Raises what it raises."""
    shape = network.input
    return load_data(spec, split=split, height=shape.height, width=shape.width, seed=seed, count=count)


def cached_data(
    folder: Path, spec: str, *, split: Split, height: int, width: int, count: int | None, seed: int = 0
) -> DataSet:
    """What `load_data` loads, the same images in every epoch, from `folder` where it was kept before.

    Raises what `load_data` raises, and DataError for a damaged file.
    """
    request = repr((spec, split, height, width, count, seed))
    path = folder / f"images-{split}-{hashlib.sha256(request.encode()).hexdigest()[:12]}.npz"
    if not path.exists():
        loaded = load_data(spec, split=split, height=height, width=width, seed=seed, count=count)
        everything = np.arange(len(loaded))
        with atomic_writer(path) as file:
            np.savez(
                file,
                name=np.array(loaded.name),
                images=loaded.images[everything],
                labels=loaded.labels,
                class_names=np.array(loaded.class_names),
            )
    try:
        with np.load(path) as kept:
            return DataSet(
                name=str(kept["name"]),
                images=kept["images"],
                labels=kept["labels"],
                class_names=tuple(str(name) for name in kept["class_names"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected cached images ({error}); remove the file", path=path) from error
