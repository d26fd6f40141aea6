"""What the tuning database holds, without changing it: for `clprune info`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from clprune.device import DeviceInfo, device_key
from clprune.errors import StoreError, shown
from clprune.folders import data_folder
from clprune.tiles.database import READ_SECONDS, SCHEMA_VERSION, check_owner, distrust
from clprune.tiles.store import DATABASE_NAME


@dataclass(frozen=True, kw_only=True)
class StoreState:
    """Counts of a database; all 0 where there is none. `problem` says why it cannot be used, else it is empty.

    `winners_here` are those of one device with its driver.
    """

    path: str
    exists: bool = False
    size_bytes: int = 0
    schema_version: int = 0
    devices: int = 0
    measurements: int = 0
    winners: int = 0
    winners_here: int = 0
    problem: str = ""


def store_state(device: DeviceInfo | None, *, path: Path | None = None) -> StoreState:
    """Look at the user's database, or at `path`, opened for reading only."""
    file = path or data_folder() / DATABASE_NAME
    state = StoreState(path=str(file))
    try:
        state = replace(state, size_bytes=file.stat().st_size, exists=True)
        check_owner(file)
        where = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=READ_SECONDS)) as connection:
            distrust(connection)
            return _read(connection, state, device)
    except FileNotFoundError:
        return state
    except StoreError as error:
        return replace(state, problem=str(error).removeprefix(f"{file}: "))
    except OSError as error:
        return replace(state, problem=error.strerror or str(error))
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes what is damaged
        return replace(state, problem=shown(str(error), 200))


def _read(connection: sqlite3.Connection, state: StoreState, device: DeviceInfo | None) -> StoreState:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    state = replace(state, schema_version=version)
    if version != SCHEMA_VERSION:
        return replace(state, problem=f"schema version {version}, this clprune writes {SCHEMA_VERSION}")

    def count(what: str, *values: str) -> int:
        return int(connection.execute(f"SELECT COUNT(*) FROM {what}", values).fetchone()[0])

    return replace(
        state,
        devices=count("device"),
        measurements=count("measurement"),
        winners=count("best"),
        winners_here=0 if device is None else count("best WHERE device=?", device_key(device)),
    )
