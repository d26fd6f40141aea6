"""Files of tensors from strangers: read by PyTorch's restricted reader, after a look at what they unpack to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

#: Of one file; each takes a fraction of a millisecond and a kilobyte, however small it is.
MOST_TENSORS = 1 << 16


def read_pickled(file: BinaryIO) -> Any:
    """What `torch.save` wrote, which packs nothing; never code. Raises ValueError for a file that takes more memory
    than it has bytes, and whatever PyTorch does for damaged ones.
    """
    size = file.seek(0, io.SEEK_END)
    if zipfile.is_zipfile(file):
        try:
            with zipfile.ZipFile(file) as archive:
                unpacked = [entry.file_size for entry in archive.infolist()]
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from error
        if sum(unpacked) > size:
            raise ValueError(f"its {size} bytes unpack to {sum(unpacked)}; expected what torch.save wrote")
        _check_count(unpacked)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name. Raises ValueError for too many, and whatever safetensors does for damaged files."""
    with safe_open(path, framework="pt") as file:
        names = _check_count(file.keys())
        return {name: file.get_tensor(name) for name in names}


def _check_count(parts: Iterable[Any]) -> list[Any]:
    found = list(parts)
    if len(found) > MOST_TENSORS:
        raise ValueError(f"holds {len(found)} tensors; expected at most {MOST_TENSORS}")
    return found
