"""Checkpoints: the whole state of a training run after an epoch, written whole or not at all.

Every epoch draws its random numbers from the run's seed and its own number, so the random state need not be kept:
a resumed run continues bit for bit as the uninterrupted one would have (on the same machine with as many threads).
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clprune.darknet.network import Network
from clprune.dataset import DataSet, DataWarning, Origin
from clprune.errors import FileError
from clprune.files import open_file, write_atomically
from clprune.pruning.unit import Mask
from clprune.training.recipe import Recipe
from clprune.training.tensor_files import read_pickled

VERSION = 1
_MAGIC = f"clprune checkpoint {VERSION}\n".encode()
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State after `epochs_done` epochs; `losses` and `accuracies` are one per epoch, as far as measured."""

    epochs_done: int
    module: dict[str, Any]
    optimiser: dict[str, Any]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """What tells one run from another: `whole` is a digest of all that decides it, `apart` of all but its images.

    `origin` tells of the images' files.
    """

    whole: str
    apart: str
    origin: Origin | None


def run_key(
    network: Network,
    data: DataSet,
    recipe: Recipe,
    *,
    masks: Mapping[int, Mask],
    start: Mapping[str, Any],
    teaching: Mapping[str, Any],
    purpose: str = "",
) -> RunKey:
    """The key of a run: another run's checkpoint has another.

    `start` is the module's first state, `teaching` that of its teacher (empty without one), `purpose` whatever else it
    is trained for.
    """
    count = None if data.origin is None else data.origin.count
    whole = hashlib.sha256(repr((VERSION, network.layers, data.name, len(data), asdict(recipe))).encode())
    apart = hashlib.sha256(repr((network.layers, data.name, data.class_names, count, asdict(recipe))).encode())
    whole.update(purpose.encode() + data.labels.tobytes())
    apart.update(purpose.encode())
    for digest in (whole, apart):
        for index in sorted(masks):
            digest.update(masks[index].tobytes())
        for state in (start, teaching):
            for name in sorted(state):
                digest.update(state[name].contiguous().cpu().numpy().tobytes())
    return RunKey(whole=whole.hexdigest(), apart=apart.hexdigest(), origin=data.origin)


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, key: RunKey) -> None:
    """Write `checkpoint` to `path`, replacing an older one in a single step. Raises FileError."""
    buffer = io.BytesIO()
    files = None if key.origin is None else torch.from_numpy(key.origin.identities.copy())
    torch.save({"key": key.whole, "key_apart": key.apart, "files": files, **vars(checkpoint)}, buffer)
    payload = buffer.getvalue()
    write_atomically(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: Path, *, key: RunKey) -> Checkpoint | None:
    """The checkpoint at `path`, None where there is none. Raises FileError for a damaged one or another run's.

    A run whose images' files have become fewer goes on, with a `DataWarning`.
    """
    if not path.exists():
        return None
    with open_file(path, error=FileError) as file:
        magic, digest = file.read(len(_MAGIC)), file.read(_DIGEST_BYTES)
        payload = file.read() if magic == _MAGIC else b""
    # the digest is checked first, because torch's reader answers damage with errors of any kind
    broken = FileError(f"is not a whole checkpoint of version {VERSION}; remove it to start anew", path=path)
    if magic != _MAGIC or hashlib.sha256(payload).digest() != digest:
        raise broken
    try:
        state = read_pickled(io.BytesIO(payload))
        apart, files = state.pop("key_apart", None), state.pop("files", None)  # younger than version 1
        then = None if files is None else files.numpy()
        found, checkpoint = state.pop("key"), Checkpoint(**state)
    except Exception as error:  # a digest can be made for anything
        raise broken from error
    if found != key.whole:
        if apart == key.apart and then is not None and key.origin is not None:
            _check_files(path, then, key.origin.identities)
            return checkpoint
        raise FileError(
            "belongs to a run with another network, data, recipe, masks or start; remove it, or give another path",
            path=path,
        )
    return checkpoint


def _check_files(path: Path, then: NDArray[np.int64], now: NDArray[np.int64]) -> None:
    """Say how many of a run's image files are gone. Raises FileError where there are others."""
    gone, new = len(np.setdiff1d(then, now)), len(np.setdiff1d(now, then))
    if new:
        raise FileError(
            f"belongs to a run without {new} of these {len(now)} image files; remove it, or give another path",
            path=path,
        )
    text = f"{gone} of its run's {len(then)} image files are gone" if gone else "other image files cannot be read now"
    warnings.warn(
        DataWarning(
            f"{path}: {text}; training goes on with those left. Without folders train and test it may have met images "
            "that are held out now"
        ),
        stacklevel=2,
    )
