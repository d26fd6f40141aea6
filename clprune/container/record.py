"""What a container says of each layer's weights, as JSON in the file's metadata."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args, get_type_hints

from clprune.container.units import DENSE, LARGEST_OUTPUT_TILE
from clprune.errors import UsageError, shown
from clprune.json_input import mapping, required

#: Under which all that a file says of itself lies, as one JSON object: several would lie in no fixed order.
METADATA_KEY = "clprune"

#: Raised when a reader of the last version would misread a file; readers refuse files of newer versions.
VERSION = 1

CODINGS = ("float32", "float16", "linear", "codebook")
SPATIAL, WINOGRAD = "spatial", "winograd"


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
        found = mapping(value, "a layer's record")
        # (type,) of what every record has, (type, None) of what may be missing
        types = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(cls).items()}
        wanted = {name: kinds[0] for name, kinds in types.items() if len(kinds) == 1 or name in found}
        record = cls(**{name: required(found, name, kind) for name, kind in wanted.items()})
        record._check()
        return record

    def _check(self) -> None:
        expected_bits = {"float32": (32,), "float16": (16,), "linear": (8,), "codebook": (4, 8)}.get(self.coding, ())
        if self.bits not in expected_bits:
            raise UsageError(
                f"coding {shown(repr(self.coding))} of {self.bits} bits: expected one of {', '.join(CODINGS)}"
            )
        if (self.domain == WINOGRAD) != (self.output_tile is not None) or self.domain not in (SPATIAL, WINOGRAD):
            raise UsageError(
                f"domain {shown(repr(self.domain))} with output tile {self.output_tile}: expected spatial or winograd"
            )
        if self.output_tile is not None and not 1 <= self.output_tile <= LARGEST_OUTPUT_TILE:
            raise UsageError(f"an output tile of {self.output_tile}: expected 1 to {LARGEST_OUTPUT_TILE}")
        if self.nonzero < 0 or not 0 <= (self.sparsity or 0.0) < 1:
            raise UsageError(f"{self.nonzero} weights, sparsity {self.sparsity}: expected at least 0 and less than 1")
        counts = (self.kept_units, self.remainder_bits)
        if self.unit_rows < 0 or (not self.is_dense and None in counts) or any((count or 0) < 0 for count in counts):
            raise UsageError(f"{self.kept_units} units of {self.unit_rows} rows: expected counts of at least 0")
