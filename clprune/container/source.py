"""An open container: its metadata, and its arrays by layer and name."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.container.record import METADATA_KEY, VERSION, LayerRecord
from clprune.errors import UsageError, WeightsError, shown
from clprune.files import known_content, open_file
from clprune.json_input import mapping, parse_json, required

#: What a safetensors file calls the types.
STORED_NAMES = {np.float32: "F32", np.float16: "F16", np.int8: "I8", np.uint8: "U8"}

#: Bytes of a value, 1 for all other types that clprune writes.
ITEM_BYTES = {"F32": 4, "F16": 2}


@dataclass(kw_only=True)
class Source:
    """An open file, with what its metadata says and the names that were read so far."""

    path: Path
    file: Any
    network: list[Any]
    layers: Mapping[str, Any]
    seen: int
    header: tuple[int, int, int] | None = None
    taken: set[str] = field(default_factory=set)

    def record(self, layer: int) -> LayerRecord:
        """How a layer's weights are stored. Raises UsageError."""
        if str(layer) not in self.layers:
            raise UsageError("nothing is said of its weights: expected a file that clprune wrote")
        return LayerRecord.from_json(self.layers[str(layer)])

    def array(self, layer: int, name: str, *, dtype: Any, length: int | None) -> npt.NDArray[Any]:
        """An array of a layer; all have one dimension, of `length` where it is known before.

        Raises UsageError when it is missing or has another type or shape.
        """
        full_name = f"layers.{layer}.{name}"
        if full_name not in self.file.keys():  # noqa: SIM118 - the file is no mapping
            raise UsageError(f"{name} is missing")
        found = self.file.get_slice(full_name)
        shape, dtype_name = list(found.get_shape()), STORED_NAMES[dtype]
        if found.get_dtype() != dtype_name or len(shape) != 1 or length not in (None, *shape):
            wanted = "[any length]" if length is None else [length]
            raise UsageError(f"{name}: {found.get_dtype()} {shape}, expected {dtype_name} {wanted}")
        self.taken.add(full_name)
        array: npt.NDArray[Any] = self.file.get_tensor(full_name)
        return array

    @cached_property
    def layer_bytes(self) -> Mapping[str, int]:
        """Bytes of all arrays of a layer, by its number as text."""
        sizes: Counter[str] = Counter()
        for name in self.file.keys():  # noqa: SIM118
            found = self.file.get_slice(name)
            size = math.prod(found.get_shape()) * ITEM_BYTES.get(found.get_dtype(), 1)
            sizes[name.removeprefix("layers.").partition(".")[0]] += size
        return sizes

    def check_all_read(self) -> None:
        """Raise UsageError when an array belongs to no layer."""
        left = sorted(set(self.file.keys()) - self.taken)
        if left:
            raise UsageError(f"{len(left)} arrays belong to no layer, first {left[0]}: is it this network's file?")


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a container and read its metadata; what goes wrong inside the block becomes a WeightsError as well."""
    from safetensors import SafetensorError, safe_open  # here: models without a container run where it is missing

    with open_file(path, error=WeightsError) as opened_file:  # refuses what safetensors would wait for
        head, size = opened_file.read(64), os.fstat(opened_file.fileno()).st_size
        try:
            with safe_open(path, framework="numpy") as file:
                yield _parse_metadata(path, file)
        except SafetensorError as error:
            other = known_content(head)
            what = f"is {other}" if other else f"{size} bytes, cut short or no safetensors file ({error})"
            raise WeightsError(f"{what}: expected a packed model, copy it again", path=path) from error
        except UsageError as error:
            raise WeightsError(str(error), path=path) from error


def _parse_metadata(path: Path, file: Any) -> Source:
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise UsageError(
            f"a safetensors file without {METADATA_KEY!r} in its metadata: expected a packed model, as `clprune prune` "
            "and `clprune quantize` write it"
        )
    try:
        facts = mapping(parse_json(text), "all of it")
    except UsageError as error:
        raise UsageError(f"its metadata: {error}") from error
    version = required(facts, "version", int)
    if version != VERSION:
        advice = "a newer clprune wrote it, update clprune" if version > VERSION else "write it again with clprune"
        raise UsageError(f"version {version}: expected {VERSION}; {advice}")
    network = facts.get("network")
    if not isinstance(network, list):
        raise UsageError("no list of layers in its metadata: expected a file that clprune wrote")
    layers, seen = mapping(facts.get("layers"), "what is said of its layers"), required(facts, "seen", int)
    if seen < 0:
        raise UsageError(f"{seen} images seen: expected at least 0")
    header = _header(facts.get("header"))
    return Source(path=path, file=file, network=network, layers=layers, seen=seen, header=header)


def _header(words: Any) -> tuple[int, int, int] | None:
    """The words of darknet's header, None where nothing is said of them. Raises UsageError."""
    if words is None:
        return None
    if isinstance(words, list) and len(words) == 3 and all(type(word) is int and abs(word) < 1 << 31 for word in words):
        return (words[0], words[1], words[2])
    raise UsageError(f"header {shown(repr(words), 60)}: expected three whole numbers of 31 bits")
