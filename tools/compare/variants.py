"""What is compared: a method with its unit, with and without permutation, and the share that it removes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clprune.errors import UsageError
from clprune.pruning import Options
from clprune.pruning.registry import get_method
from clprune.unit import Unit

#: Methods that prune weights as darknet has them, from coarse to fine and what combines both.
METHODS = ("filter", "block", "balanced", "nm", "unstructured", "wavefront", "workgroup", "bcbp", "mixed")

#: Methods that remove columns of row blocks: those whose rows can be permuted to advantage.
COLUMN_METHODS = ("wavefront", "workgroup", "bcbp")


#: Methods that remove columns of row blocks in the Winograd domain.
WINOGRAD_METHODS = ("wsp", "bwsp", "abwsp")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of the comparison. `unit` None: the method's own, which no tile decides (rows of one).

    `winograd` is the output tile m of F(m x m, 3 x 3) for methods of the Winograd domain, None: the default.
    """

    method: str
    unit: Unit | None = None
    permute: bool = False
    winograd: int | None = None

    def __post_init__(self) -> None:
        get_method(self.method)

    def __str__(self) -> str:
        unit = "" if self.unit is None else f"-{self.unit}"
        tile = "" if self.winograd is None else f"-winograd{self.winograd}"
        return f"{self.method}{unit}{tile}{'-permute' if self.permute else ''}"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read what `str` writes, such as `workgroup-16x1-permute`. Raises UsageError."""
        match = re.fullmatch(r"([a-z]+)(?:-(\d+x\d+))?(?:-winograd(\d+))?(-permute)?", text.strip())
        if match is None:
            raise UsageError(f"variant {text!r}: expected METHOD[-ROWSxCOLUMNS][-winogradM][-permute]")
        unit = None if match[2] is None else Unit.parse(match[2])
        winograd = None if match[3] is None else int(match[3])
        return cls(method=match[1], unit=unit, winograd=winograd, permute=match[4] is not None)

    @property
    def tile_unit(self) -> Unit:
        """What stands for the tuned tile's unit when the method makes its own of it."""
        return self.unit or Unit(rows=1)

    @property
    def options(self) -> Options:
        """The method's own."""
        kind = get_method(self.method).options
        return kind() if self.winograd is None else kind(winograd=self.winograd)

    @property
    def is_column_method(self) -> bool:
        """Removes columns of row blocks, which a kernel of such a tile skips."""
        return self.method in (*COLUMN_METHODS, *WINOGRAD_METHODS)

    def method_sparsity(self, sparsity: float) -> float:
        """What to ask of the method so that about `sparsity` of the convolutions' weights go.

        Filter pruning counts filters, and a layer between two pruned ones keeps the square of the share of filters.
        """
        return 1 - math.sqrt(1 - sparsity) if get_method(self.method).removes_channels else sparsity


def default_variants(*, wavefront: Unit, workgroup: Unit) -> tuple[Variant, ...]:
    """Every method of `METHODS`, the column methods also permuted, in the units of `default_units`."""
    units = default_units(wavefront=wavefront, workgroup=workgroup)
    plain = tuple(Variant(method=method, unit=units.get(method)) for method in METHODS)
    return (*plain, *(replace(variant, permute=True) for variant in plain if variant.is_column_method))


def default_units(*, wavefront: Unit, workgroup: Unit) -> dict[str, Unit]:
    """Method -> unit, of methods whose unit a tile decides.

    `bcbp` and `block` take the rows of `wavefront`: unbalanced, the same unit is the method `wavefront`. `mixed` cuts
    its own blocks of them.
    """
    rows = dict.fromkeys(("wavefront", "bcbp", "block", "mixed"), wavefront)
    return {**rows, "workgroup": workgroup}


def parse_variants(text: str, *, units: Mapping[str, Unit] | None = None) -> tuple[Variant, ...]:
    """Such as `filter,wavefront-8x1`; `units` are those of methods that name none. Raises UsageError."""
    named = (Variant.parse(part) for part in text.split(","))
    known = units or {}
    return tuple(
        replace(variant, unit=known.get(variant.method)) if variant.unit is None else variant for variant in named
    )


def parse_shares(text: str) -> tuple[float, ...]:
    """Shares of removed weights such as `0.5,0.75`. Raises UsageError, also where one is none or all."""
    try:
        sparsities = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"sparsities {text!r}: expected numbers such as 0.5,0.75") from None
    for sparsity in sparsities:
        if not 0 < sparsity < 1:
            raise UsageError(f"sparsity {sparsity}: expected a share of removed weights between 0 and 1")
    return sparsities
