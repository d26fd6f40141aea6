"""What was measured so far, kept in a file, so that a run that was killed goes on and another budget costs no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from clprune.container.model import Model
from clprune.dataset import DataSet
from clprune.errors import FileError, UsageError, shown
from clprune.files import write_atomically
from clprune.json_input import mapping, read_json, required

VERSION = 2

#: Far above what is measured: milliseconds, losses, rows of a unit, selections tried on the device.
MOST_MS, MOST_LOSS, MOST_ROWS, MOST_ATTEMPTS = 1e9, 1e30, 1 << 16, 1 << 16

Value = TypeVar("Value")


class Record:
    """Values by section and name, as JSON holds them. `path` None: in memory only.

    `facts` say what they hold of, `layers` the indices of the layers that have a time. A file that says otherwise, or
    holds anything else than what `clprune fit` keeps there, is refused. Raises FileError.
    """

    def __init__(self, path: Path | None, *, facts: dict[str, Any], layers: Sequence[int]) -> None:
        self.path, self._facts = path, {"version": VERSION, **facts}
        self._sections: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        found = read_json(path, error=FileError)
        if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
            raise self.refused("is no record of clprune fit")
        facts = found.pop("facts", {})
        if facts != self._facts:
            differing = sorted(name for name in self._facts if facts.get(name) != self._facts[name])
            raise self.refused(f"was made for another {', '.join(differing) or 'run'}")
        try:
            _check(found, [str(index) for index in layers])
        except UsageError as error:
            raise self.refused(str(error)) from error
        self._sections = found

    def refused(self, found: str) -> FileError:
        """The error for a record that cannot be gone on with, which says what was `found` in it."""
        return FileError(f"{found}: remove it, or give another PREFIX", path=self.path or "the record")

    def get(self, section: str, name: str, make: Callable[[], Value]) -> Value:
        """What is kept under that name, else what `make` gives, which is kept."""
        values = self._sections.setdefault(section, {})
        if name not in values:
            values[name] = make()
            if self.path is not None:
                write_atomically(self.path, json.dumps({"facts": self._facts, **self._sections}))
        found: Value = values[name]
        return found

    def has(self, section: str, name: str) -> bool:
        """Whether anything is kept under that name."""
        return name in self._sections.get(section, {})

    def known(self, section: str, name: str) -> Any:
        """What is kept under that name."""
        return self._sections[section][name]


def _check(sections: Mapping[str, Mapping[str, Any]], layers: Sequence[str]) -> None:
    """Raise UsageError for a value that is none of its section's, of the `layers` with a matrix."""
    for section, values in sections.items():
        if section not in _SECTIONS:
            raise UsageError(f"section {shown(section)!r}: expected {', '.join(_SECTIONS)}")
        for name, value in values.items():
            _SECTIONS[section](value, f"{section} of {shown(name)!r}", layers)


def _check_number(value: Any, what: str, *, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise UsageError(f"{what}: {shown(value)}, expected a number from 0 to {most:g}")


def _of_layers(value: Any, what: str, layers: Sequence[str]) -> Mapping[str, Any]:
    found = mapping(value, what)
    if sorted(found) != sorted(layers):
        raise UsageError(f"{what}: of layers {shown(', '.join(found))}, expected {shown(', '.join(layers))}")
    return found


def _check_time(value: Any, what: str, layers: Sequence[str]) -> None:
    """What `clprune.fitting.times.measure` gives."""
    found = mapping(value, what)
    for time_ms in (found.get("whole_ms"), *_of_layers(found.get("layers"), what, layers).values()):
        _check_number(time_ms, what, most=MOST_MS)
    if not found["whole_ms"]:
        raise UsageError(f"{what}: 0 ms, expected more")


def _check_rows(value: Any, what: str, layers: Sequence[str]) -> None:
    for rows in _of_layers(value, what, layers).values():
        if type(rows) is not int or not 1 <= rows <= MOST_ROWS:
            raise UsageError(f"{what}: {shown(rows)}, expected rows from 1 to {MOST_ROWS}")


def _check_loss(value: Any, what: str, layers: Sequence[str]) -> None:
    _check_number(value, what, most=MOST_LOSS)


def _check_chosen(value: Any, what: str, layers: Sequence[str]) -> None:
    """The name is looked up in the table, `clprune.fitting.table.Table.named`."""
    found = mapping(value, what)
    required(found, "name", str)
    _check_number(required(found, "attempts", int), what, most=MOST_ATTEMPTS)


#: What every section holds of a name, and is checked by.
_SECTIONS: Mapping[str, Callable[[Any, str, Sequence[str]], None]] = {
    "times": _check_time, "rows": _check_rows, "losses": _check_loss, "errors": _check_loss,
    "answers": _check_loss, "chosen": _check_chosen,
}  # fmt: skip


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
