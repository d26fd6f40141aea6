"""Checkpoints: the whole state of a training run after an epoch, written whole or not at all.

Every epoch draws its random numbers from the run's seed and its own number, so the random state need not be kept:
a resumed run continues bit for bit as the uninterrupted one would have (on the same machine with as many threads).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clprune.darknet.network import Network
from clprune.dataset import DataSet
from clprune.errors import FileError
from clprune.files import open_file, write_atomically
from clprune.pruning.unit import Mask
from clprune.training.recipe import Recipe

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


def run_key(
    network: Network,
    data: DataSet,
    recipe: Recipe,
    *,
    masks: Mapping[int, Mask],
    start: Mapping[str, Any],
    teaching: Mapping[str, Any],
    purpose: str = "",
) -> str:
    """A digest of all that decides a run: another run's checkpoint differs.

    `start` is the module's first state, `teaching` that of its teacher (empty without one), `purpose` whatever else it
    is trained for.
    """
    digest = hashlib.sha256()
    digest.update(repr((VERSION, network.layers, data.name, len(data), asdict(recipe))).encode())
    digest.update(purpose.encode())
    digest.update(data.labels.tobytes())
    for index in sorted(masks):
        digest.update(masks[index].tobytes())
    for state in (start, teaching):
        for name in sorted(state):
            digest.update(state[name].contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, key: str) -> None:
    """Write `checkpoint` to `path`, replacing an older one in a single step. Raises FileError."""
    buffer = io.BytesIO()
    torch.save({"key": key, **vars(checkpoint)}, buffer)
    payload = buffer.getvalue()
    write_atomically(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: Path, *, key: str) -> Checkpoint | None:
    """The checkpoint at `path`, None where there is none. Raises FileError for a damaged one or another run's."""
    if not path.exists():
        return None
    with open_file(path, error=FileError) as file:
        content = file.read()
    digest, payload = content[len(_MAGIC) :][:_DIGEST_BYTES], content[len(_MAGIC) + _DIGEST_BYTES :]
    # the digest is checked first, because torch's reader answers damage with errors of any kind
    broken = FileError(f"is not a whole checkpoint of version {VERSION}; remove it to start anew", path=path)
    if not content.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise broken
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        found, checkpoint = state.pop("key"), Checkpoint(**state)
    except Exception as error:  # a digest can be made for anything
        raise broken from error
    if found != key:
        raise FileError(
            "belongs to a run with another network, data, recipe, masks or start; remove it, or give another path",
            path=path,
        )
    return checkpoint
