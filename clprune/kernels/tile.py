"""What tiles may be: parameters with declared values, and constraints with reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

Value = int | str

#: Parameter -> its values.
Values = Mapping[str, tuple[Value, ...]]


class Tile(Protocol):
    """A frozen dataclass of parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Operation(Protocol):
    """One use of a kernel; `key` names its problem in the tuning database."""

    @property
    def key(self) -> str: ...

    @property
    def flops(self) -> int: ...


TileT = TypeVar("TileT", bound=Tile)
OperationT = TypeVar("OperationT", bound=Operation)


def values(
    *declared: Value, cpu: tuple[Value, ...] = (), gpu: tuple[Value, ...] = (), before: tuple[Value, ...] = ()
) -> dict[str, tuple[Value, ...]]:
    """Metadata of a tile's field: what it may be, and the only values of these that are worth trying on CPUs and on
    GPUs, so that a search need not enumerate the rest (none given: all).

    `before`: the one value of tiles that were kept before there was this parameter. It is kept only where it differs.
    """
    return {"declared": declared, "cpu": cpu, "gpu": gpu, "before": before}


def values_of(tile_type: type[Tile], which: Literal["declared", "cpu", "gpu", "before"]) -> Values:
    """The values that the fields of a tile declare; of all but "declared" those that say so."""
    found = {field.name: field.metadata.get(which, ()) for field in dataclasses.fields(tile_type)}
    return {name: given for name, given in found.items() if given}


def values_before(tile_type: type[Tile]) -> dict[str, Value]:
    """Of parameters that came after tiles had been kept, the values that those have."""
    return {name: value for name, (value,) in values_of(tile_type, "before").items()}


def parameters_of(tile: Any) -> dict[str, Value]:
    """What is kept of a tile: its parameters, but those that came later only where they differ from before."""
    before = values_before(type(tile))
    return {name: value for name, value in dataclasses.asdict(tile).items() if before.get(name) != value}


@dataclass(frozen=True, kw_only=True)
class Constraint(Generic[TileT, OperationT]):
    """A condition that a tile must meet; `reason` is what the user reads when it does not."""

    reason: str
    holds: Callable[[TileT, OperationT], bool]


@dataclass(frozen=True, kw_only=True)
class RegisterLimit(Constraint[TileT, OperationT]):
    """The limit of the float32 `results` that a work-item holds while it multiplies."""

    results: Callable[[TileT, OperationT], int]


def fits_registers(results: Callable[[Any, Any], int], *, alone: int, shared: int) -> RegisterLimit[Any, Any]:
    """How many float32 `results` a work-item may hold: in a work-group of one, and of several."""
    return RegisterLimit(
        reason="the accumulators of a work-item exceed the registers of any device",
        holds=lambda t, o: results(t, o) <= (alone if t.work_group_size == 1 else shared),
        results=results,
    )


WIDE_VECTORS: Constraint[Any, Any] = Constraint(
    reason="wide vectors are for work-groups of one",
    holds=lambda t, o: t.vector_width <= 4 or t.work_group_size == 1,
)

PREFETCHING: Constraint[Any, Any] = Constraint(
    reason="prefetching is for work-groups of one, whose caches are a CPU's",
    holds=lambda t, o: t.prefetch == getattr(t, "prefetch_values", 0) == 0 or t.work_group_size == 1,
)

STAGING: Constraint[Any, Any] = Constraint(
    reason="staging weights in local memory needs a work-group that shares them",
    holds=lambda t, o: t.tile_k == 0 or t.group_n > 1,
)

#: What holds for nearly every tile that has a work-group and vectors, whatever the kernel.
WORK_GROUP_CONSTRAINTS: tuple[Constraint[Any, Any], ...] = (
    Constraint(
        reason="work-groups of several items have 64 to 256 of them",
        holds=lambda t, o: t.work_group_size == 1 or 64 <= t.work_group_size <= 256,
    ),
    WIDE_VECTORS,
)
