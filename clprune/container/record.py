"""What a container says of each layer's weights, as JSON in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from clprune.container.units import DENSE
from clprune.errors import UsageError

#: Under which all that a file says of itself lies, as one JSON object: several would lie in no fixed order.
METADATA_KEY = "clprune"

#: Raised when a reader of the last version would misread a file; readers refuse files of newer versions.
VERSION = 1

CODINGS = ("float32", "float16", "linear", "codebook")
SPATIAL, WINOGRAD = "spatial", "winograd"

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """How a layer's weights are stored.

    domain: "spatial", or "winograd" with `output_tile` m of F(m x m, 3 x 3).
    coding: one of CODINGS, in `bits` per weight; `activation_scale` is that of a linear coding's input.
    unit_rows, kept_units, remainder_bits: see `clprune.container.units` and `gaps`; DENSE where all weights are stored.
    nonzero: weights that are not zero.
    method, unit, sparsity: what the cfg says of its pruning (the unit as `8x1`), None where it says nothing.
    """

    domain: str
    coding: str
    bits: int
    unit_rows: int
    nonzero: int
    kept_units: int | None = None
    remainder_bits: int | None = None
    output_tile: int | None = None
    activation_scale: float | None = None
    method: str | None = None
    unit: str | None = None
    sparsity: float | None = None

    @property
    def is_dense(self) -> bool:
        """Whether all weights are stored."""
        return self.unit_rows == DENSE

    def to_json(self) -> dict[str, Any]:
        """Every field that is not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> LayerRecord:
        """Read back what `to_json` gave. Raises UsageError for anything else."""
        fields = mapping(value, "a layer's record")
        record = cls(
            domain=required(fields, "domain", str),
            coding=required(fields, "coding", str),
            bits=required(fields, "bits", int),
            unit_rows=required(fields, "unit_rows", int),
            nonzero=required(fields, "nonzero", int),
            kept_units=_optional(fields, "kept_units", int),
            remainder_bits=_optional(fields, "remainder_bits", int),
            output_tile=_optional(fields, "output_tile", int),
            activation_scale=_optional(fields, "activation_scale", float),
            method=_optional(fields, "method", str),
            unit=_optional(fields, "unit", str),
            sparsity=_optional(fields, "sparsity", float),
        )
        record._check()
        return record

    def _check(self) -> None:
        expected_bits = {"float32": (32,), "float16": (16,), "linear": (8,), "codebook": (4, 8)}.get(self.coding, ())
        if self.bits not in expected_bits:
            raise UsageError(f"coding {self.coding!r} of {self.bits} bits: expected one of {', '.join(CODINGS)}")
        if (self.domain == WINOGRAD) != (self.output_tile is not None) or self.domain not in (SPATIAL, WINOGRAD):
            raise UsageError(
                f"domain {self.domain!r} with output tile {self.output_tile}: expected spatial or winograd"
            )
        counts = (self.kept_units, self.remainder_bits)
        if self.unit_rows < 0 or (not self.is_dense and None in counts) or any((count or 0) < 0 for count in counts):
            raise UsageError(f"{self.kept_units} units of {self.unit_rows} rows: expected counts of at least 0")


def parse_object(text: str, what: str) -> Mapping[str, Any]:
    """A JSON object. Raises UsageError naming `what` for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} cannot be read: {error}") from error
    return mapping(value, what)


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value`, or UsageError where it is no object."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is {value!r}: expected an object")
    return value


def required(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """The field `name`. Raises UsageError where it is missing or of another type."""
    value = fields.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: expected {kind.__name__}")
    return value


def _optional(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    return None if name not in fields else required(fields, name, kind)
