"""What was measured so far, kept in a file, so that a run that was killed goes on and another budget costs no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from clprune.container.model import Model
from clprune.dataset import DataSet
from clprune.errors import FileError
from clprune.files import write_atomically
from clprune.json_input import read_json

VERSION = 1

Value = TypeVar("Value")


class Record:
    """Values by section and name, as JSON holds them. `path` None: in memory only.

    `facts` say what they hold of; a file that says otherwise is refused. Raises FileError.
    """

    def __init__(self, path: Path | None, *, facts: dict[str, Any]) -> None:
        self.path, self._facts = path, {"version": VERSION, **facts}
        self._sections: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        found = read_json(path, error=FileError)
        if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
            raise FileError("is no record of clprune fit: remove it, or give another PREFIX", path=path)
        facts = found.pop("facts", {})
        if facts != self._facts:
            differing = sorted(name for name in self._facts if facts.get(name) != self._facts[name])
            message = f"was made for another {', '.join(differing) or 'run'}: remove it, or give another PREFIX"
            raise FileError(message, path=path)
        self._sections = found

    def get(self, section: str, name: str, make: Callable[[], Value]) -> Value:
        """What is kept under that name, else what `make` gives, which is kept."""
        values = self._sections.setdefault(section, {})
        if name not in values:
            values[name] = make()
            if self.path is not None:
                write_atomically(self.path, json.dumps({"facts": self._facts, **self._sections}))
        found: Value = values[name]
        return found

    def known(self, section: str, name: str) -> Any:
        """What is kept under that name."""
        return self._sections[section][name]


def images_hash(images: DataSet) -> str:
    """Of the pictures that layers are judged by."""
    digest = hashlib.sha256()
    for index in range(len(images)):
        digest.update(images.batch([index]).tobytes())
    return digest.hexdigest()


def model_hash(model: Model) -> str:
    """Of what the layers of a model are and hold."""
    digest = hashlib.sha256(repr(model.network.layers).encode())
    for values in model.weights.layers:
        for name in ("weights", "biases", "scales", "mean", "variance") if values is not None else ():
            array = getattr(values, name)
            if array is not None:
                digest.update(array.tobytes())
    return digest.hexdigest()
