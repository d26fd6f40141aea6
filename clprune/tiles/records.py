"""What is kept of tuning: devices, measured candidates and winners, under which key, and tiles as text."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clprune.device import DeviceInfo, device_key
from clprune.errors import TileError, UsageError, shown
from clprune.json_input import parse_json
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.tile import parameters_of

#: Where a result came from: timed on its device, predicted without one, or read from a file of somebody else's, whose
#: name may stand behind it: "imported from tiles.json".
ORIGINS = MEASURED, OFFLINE, IMPORTED = "measured", "offline", "imported"

#: Measured on a like device, in a table of clprune's: what no database or file can claim.
SHIPPED = "shipped"

#: Why a candidate has no usable time, in the words of the T4 exchange format.
INVALIDITIES = CORRECT, COMPILE, RUNTIME, CORRECTNESS, TIMEOUT, CONSTRAINTS = (
    "correct", "compile", "runtime", "correctness", "timeout", "constraints",
)  # fmt: skip


#: Half of a character: no file or database takes it.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: No time, share or error is larger; SQLite has no larger whole number than the other.
_HUGE, _HUGE_WHOLE = 1e300, 1 << 63


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < (_HUGE_WHOLE if isinstance(value, int) else _HUGE)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _SURROGATE.search(value) is None


def imported_from(path: str | Path) -> str:
    """The origin of what a file says."""
    return f"{IMPORTED} from {shown(Path(path).name)}"


def is_imported(origin: object) -> bool:
    """Whether that is the origin of something read from a file of somebody else's."""
    return isinstance(origin, str) and origin.split(" ", maxsplit=1)[0] == IMPORTED and origin.isprintable()


#: What fields must be, by their names, else by their types; records come from files and databases that hold anything.
_EXPECTED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "origin": (f"one of {', '.join(ORIGINS)}", lambda value: value in ORIGINS or is_imported(value)),
    "invalidity": (f"one of {', '.join(INVALIDITIES)}", lambda value: value in INVALIDITIES),
    "kept_share": ("a number up to 1", lambda value: _is_number(value) and value <= 1),
    "unit_rows": ("a whole number from 1 on", lambda value: type(value) is int and 1 <= value < 2**31),
    "device": ("text", _is_text),  # the key of one has several lines
    "str": ("text of one line", lambda value: _is_text(value) and "\n" not in value),
    "float | None": ("a finite number from 0 on, or nothing", lambda value: value is None or _is_number(value)),
    "tuple[float, ...]": ("finite numbers from 0 on", lambda value: all(map(_is_number, value))),
}


class _Record:
    """What every record does when it is made: refuse, with a TileError, what none of the fields it is given can be."""

    __dataclass_fields__: dict[str, dataclasses.Field[Any]]

    def __post_init__(self) -> None:
        for name, field in self.__dataclass_fields__.items():
            expected = _EXPECTED.get(name) or _EXPECTED.get(str(field.type))
            if field.init and expected is not None and not expected[1](getattr(self, name)):
                raise TileError(f"{name} is {shown(repr(getattr(self, name)))}; expected {expected[0]}")


@dataclass(frozen=True, kw_only=True)
class Key(_Record):
    """Under what a tuning result is kept."""

    device: str
    kernel: str
    source_hash: str
    problem: str
    workload: str


@dataclass(frozen=True, kw_only=True)
class Measurement(_Record):
    """One candidate's outcome. `tile` is the JSON text of its parameters, `runs_ms` every sample that was taken.

    `time_ms` is None where `invalidity` says why there is no time. `measured_problem` is the key of the smaller
    problem that was timed in place of `key.problem`, or empty.
    """

    key: Key
    tile: str
    time_ms: float | None
    invalidity: str = CORRECT
    timestamp: str = ""
    origin: str = MEASURED
    measured_problem: str = ""
    build_ms: float | None = None
    runs_ms: tuple[float, ...] = ()
    relative_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Best(_Record):
    """A winner with what look-ups need. `tile` is JSON text; times are None for one that was never measured.

    `default_time_ms` was measured in turns with the winner.
    """

    key: Key
    kept_share: float
    unit_rows: int
    tile: str
    time_ms: float | None
    default_time_ms: float | None
    clprune_version: str = ""
    timestamp: str = ""
    origin: str = MEASURED
    measured_problem: str = ""


class Outline(NamedTuple):
    """What of a winner says how near it is to another problem: a tuple, as there may be many. `rowid` says which of two
    is the older one.
    """

    rowid: int
    device: str
    problem: str
    workload: str
    kept_share: float
    unit_rows: int
    origin: str


@dataclass(frozen=True, kw_only=True)
class ShippedBest(Best):
    """A winner of a table that comes with the library."""

    origin: str = dataclasses.field(default=SHIPPED, init=False)


@dataclass(frozen=True, kw_only=True)
class StoredDevice(_Record):
    """What is kept of a device, to judge how near another one is."""

    device: str
    platform_vendor: str
    platform_name: str
    vendor: str
    name: str
    driver_version: str
    type: str
    architecture: str

    @classmethod
    def of(cls, info: DeviceInfo) -> StoredDevice:
        """The part of `info` that is kept."""
        facts = {field.name: getattr(info, field.name) for field in dataclasses.fields(cls) if field.name != "device"}
        return cls(device=device_key(info), **facts)

    def is_same_device(self, other: StoredDevice) -> bool:
        """The same device on the same platform, whatever the drivers' versions."""
        return (self.platform_vendor, self.platform_name, self.vendor, self.name) == (
            other.platform_vendor,
            other.platform_name,
            other.vendor,
            other.name,
        )

    def is_same_architecture(self, other: StoredDevice) -> bool:
        return (self.vendor, self.architecture) == (other.vendor, other.architecture)


def result_key(device: DeviceInfo, offer: Offer) -> Key:
    """The one function that makes keys, for storing and for finding: of everything that is not a layout."""
    return Key(
        device=device_key(device),
        kernel=offer.kernel.name,
        source_hash=offer.kernel.source_hash(),
        problem=offer.operation.key,
        workload=offer.workload.key,
    )


def tile_text(tile: Any) -> str:
    """A tile's parameters as the database keeps them."""
    return json.dumps(parameters_of(tile), sort_keys=True)


def parameters_from(text: str) -> dict[str, Any]:
    """What such text says, empty where it says nothing."""
    try:
        values = parse_json(text)
    except UsageError:
        return {}
    return values if isinstance(values, dict) else {}


def tile_from(kernel: Kernel[Any, Any], text: str) -> Any | None:
    """The tile, or None where it is none: another version of clprune, or somebody else, wrote it."""
    try:
        return kernel.tile_of(parameters_from(text))
    except TileError:
        return None
