"""The tuning database's file: one of SQLite per user, safe for several processes, and its tables."""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import platform
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from clprune.closing import Closing
from clprune.errors import ClpruneWarning, DamagedStoreError, StoreError, shown
from clprune.folders import stranger_at
from clprune.kernels.earlier_hashes import EARLIER_HASHES

SCHEMA_VERSION = 5

#: Texts in the file are not longer, and it has no other objects than tables and their indices.
MAX_TEXT_BYTES = 1 << 20
_LIMIT_LENGTH = 0  # SQLITE_LIMIT_LENGTH, which Python has from 3.11 on
_STRANGE_OBJECTS = """
    SELECT type || ' ' || name FROM sqlite_master
    WHERE type NOT IN ('table', 'index') OR (type = 'index' AND sql IS NOT NULL) OR sql LIKE 'CREATE VIRTUAL%'"""

#: Table -> its columns and key.
_SCHEMA = {
    "device": """
        device TEXT PRIMARY KEY, platform_vendor TEXT NOT NULL, platform_name TEXT NOT NULL, vendor TEXT NOT NULL,
        name TEXT NOT NULL, driver_version TEXT NOT NULL, type TEXT NOT NULL, architecture TEXT NOT NULL""",
    "measurement": """
        device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
        problem TEXT NOT NULL, workload TEXT NOT NULL,
        tile TEXT NOT NULL, time_ms REAL, invalidity TEXT NOT NULL, timestamp TEXT NOT NULL,
        origin TEXT NOT NULL DEFAULT 'measured', measured_problem TEXT NOT NULL DEFAULT '',
        build_ms REAL, runs_ms TEXT NOT NULL DEFAULT '[]', relative_error REAL,
        PRIMARY KEY (device, kernel, source_hash, problem, workload, tile)""",
    "best": """
        device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
        problem TEXT NOT NULL, workload TEXT NOT NULL,
        kept_share REAL NOT NULL, unit_rows INTEGER NOT NULL, tile TEXT NOT NULL, time_ms REAL,
        default_time_ms REAL, clprune_version TEXT NOT NULL, timestamp TEXT NOT NULL,
        origin TEXT NOT NULL DEFAULT 'measured', measured_problem TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (device, kernel, source_hash, problem, workload)""",
    "checked": """
        device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL, tile TEXT NOT NULL,
        is_right INTEGER NOT NULL, timestamp TEXT NOT NULL,
        PRIMARY KEY (device, kernel, source_hash, tile)""",
}

#: Whether there is a winner under one of the pairs of a kernel and a hash: every device's are sought in the key's
#: index, which nobody reads through at every start.
_HAS_WINNER_OF = """
    WITH RECURSIVE known(device) AS (
        SELECT MIN(device) FROM best UNION ALL
        SELECT (SELECT MIN(best.device) FROM best WHERE best.device > known.device) FROM known
        WHERE known.device IS NOT NULL
    ), pair(kernel, source_hash) AS (VALUES {})
    SELECT EXISTS (SELECT 1 FROM known CROSS JOIN pair CROSS JOIN best USING (device, kernel, source_hash))"""

#: A column's default that is not computed.
_LITERAL = re.compile(r"('[^']*'|-?[0-9.]+|NULL)?", re.IGNORECASE)
_COLUMN = re.compile(r"(\w+) (?:TEXT|REAL|INTEGER)")

#: What to do with a damaged file that cannot be set aside.
ADVICE = "; delete or move it"

#: What SQLite says where the disk or the folder lets nothing be written.
_DISK = re.compile(r"I/O|unable to open|readonly")

#: What SQLite says as an "operational" error where it is the file that is not as it must be.
_DAMAGE = re.compile(r"no such (table|column)|malformed|[Cc]ould not decode")

# What of an older version is dropped: all of version 1, made before the first release; times of version 2, which were
# taken with warm caches and say little of a network (clprune/tuning/caches.py).
_DROPPED = {1: ("measurement", "best", "checked", "device"), 2: ("measurement", "best")}
#: Seconds to wait for other programs that hold the database: to read, for which nothing is worth waiting long; to open
#: it for writing, where it is held all the time; to write one result of many.
READ_SECONDS, OPEN_SECONDS, WRITE_SECONDS = 1.5, 2.0, 30.0


class StoreWarning(ClpruneWarning):
    """The tuning database, or a part of it, cannot be used; everything works without, only slower."""


class Database(Closing):
    """An open file of tuning results; a context manager. Every failure of it is a StoreError, of damage in the file a
    DamagedStoreError. Close it also after one.
    """

    def __init__(self, path: Path | None, *, to_write: bool = True) -> None:
        """Open `path`, which is created unless it is only to be read; None keeps everything in memory.

        A file that others could have written is refused. FileNotFoundError where there is none to read.
        """
        self.path = path
        #: What tells the file from another one that takes its name later.
        self._inode: int | None = None
        #: False for a file of another installation that cannot be written: nothing in it counts as measured here.
        self.is_own = True
        #: Tables of which it was said that rows make no sense.
        self._told: set[str] = set()
        if path is None:
            self._connection = self._connect(":memory:", OPEN_SECONDS)
            return
        check_owner(path)
        if not to_write:
            self._connection = self._connect_to_read(path)
            return
        with suppress(FileNotFoundError):
            self._inode = path.stat().st_ino
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the tuning database cannot be made: {error.strerror}", path=path) from error
        self._connection = self._connect(path, OPEN_SECONDS, _use_write_ahead_log, _check_pages, _try_to_write)
        self._connection.execute(f"PRAGMA busy_timeout={WRITE_SECONDS * 1000:.0f}")

    def _connect_to_read(self, path: Path) -> sqlite3.Connection:
        """Where not even SQLite's own files beside it can be written, the file as it lies there."""
        self._inode, where = path.stat().st_ino, path.absolute().as_uri()
        try:
            return self._connect(f"{where}?mode=rw", READ_SECONDS)
        except DamagedStoreError:
            raise
        except StoreError as error:
            self._inode = None  # what others are writing may look like damage: never set aside
            with suppress(StoreError):
                if "locked" not in str(error):
                    return self._connect(f"{where}?immutable=1", READ_SECONDS)
            raise

    def _connect(
        self, where: str | Path, wait_s: float, *steps: Callable[[sqlite3.Connection], None]
    ) -> sqlite3.Connection:
        """An open file of today's schema, after each of `steps`."""
        with self._store_errors("cannot be opened"):
            is_uri = str(where).startswith("file:")
            connection = sqlite3.connect(
                where, timeout=wait_s, isolation_level=None, check_same_thread=False, uri=is_uri
            )
        try:
            with self._store_errors("cannot be opened"):
                distrust(connection)
                for step in steps:
                    step(connection)
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _store_errors(self, what: str) -> Iterator[None]:
        """SQLite's errors in our words; programming errors surface."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, UnicodeDecodeError) as error:  # it quotes what is damaged
            place = self.path or "memory"
            is_damage = not isinstance(error, sqlite3.OperationalError) or _DAMAGE.search(str(error))
            if is_damage:
                message = f"not a tuning database, or damaged: {error}{ADVICE}"
                damage = DamagedStoreError(message, path=place)
                damage.inode = self._inode
                raise damage from error
            hint = "; is the disk full or read-only?" if _DISK.search(str(error)) else ""
            raise StoreError(f"the tuning database {what}: {error}{hint}", path=place) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last results, no more
        if _version(connection) != SCHEMA_VERSION:
            self._update(connection)
        self._rename_hashes(connection)
        self.is_own = _installation_of(connection) == this_installation() or self._adopt(connection)
        for table, columns in _SCHEMA.items():
            connection.execute(f"SELECT {', '.join(_COLUMN.findall(columns))} FROM {table} LIMIT 0")

    def _update(self, connection: sqlite3.Connection) -> None:
        """Bring an older or new file to today's schema."""
        with self._transaction(connection):  # several processes may be here at once: ask again
            version = _version(connection)
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"schema version {version}, this clprune reads up to {SCHEMA_VERSION}: "
                    "update clprune or move the file",
                    path=self.path or "memory",
                )
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            if tables and "measurement" not in tables:
                raise sqlite3.DatabaseError(f"another program's, with {shown(', '.join(map(str, tables)))}")
            for table in _DROPPED.get(version, ()):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            for table, columns in _SCHEMA.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _rename_hashes(self, connection: sqlite3.Connection) -> None:
        """What was kept under earlier hashes of sources that are still the same stays valid: where there is a winner
        under one and the file can be written, all is given the hash of today. Not so the outcomes of checks: a source
        that is as fast, or the same for most tiles, may still be wrong where that one was right.
        """
        renamed = [(known[-1], kernel, earlier) for kernel, known in EARLIER_HASHES.items() for earlier in known[:-1]]
        earlier_keys = [(kernel, earlier) for _, kernel, earlier in renamed]
        statement = _HAS_WINNER_OF.format(", ".join(["(?, ?)"] * len(earlier_keys)))
        if connection.execute(statement, list(chain(*earlier_keys))).fetchone() == (0,):
            return
        with suppress(sqlite3.OperationalError), self._transaction(connection):
            for table in ("measurement", "best"):
                statement = f"UPDATE OR IGNORE {table} SET source_hash=? WHERE kernel=? AND source_hash=?"
                connection.executemany(statement, renamed)
            connection.executemany("DELETE FROM checked WHERE kernel=? AND source_hash=?", earlier_keys)

    def _adopt(self, connection: sqlite3.Connection) -> bool:
        """Another installation's file becomes this one's: nothing in it was measured or checked here. Returns whether
        it can be written.
        """
        try:
            with self._transaction(connection):
                for table in ("measurement", "best"):
                    connection.execute(f"UPDATE {table} SET origin='imported' WHERE origin='measured'")
                connection.execute("DELETE FROM checked")
                connection.execute(f"PRAGMA application_id={this_installation()}")
        except sqlite3.OperationalError:
            return False
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, also against other processes."""
        with self._store_errors("cannot be written"), self._transaction(self._connection):
            yield

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it
                connection.execute("ROLLBACK")
            raise

    def select(
        self, columns: str, table: str, wanted: Mapping[str, str | None], *, condition: str = "1", order: str = ""
    ) -> Iterator[tuple[Any, ...]]:
        """`columns` of the rows that fulfil `condition` and whose columns called as in `wanted`, None aside, have these
        values, read as they are taken.
        """
        matches, values = condition_of(wanted)
        return self.rows(f"SELECT {columns} FROM {table} WHERE {matches} AND {condition} {order}", values)

    def rows(self, statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """What `statement` selects, read as it is taken."""
        with self._store_errors("cannot be read"):
            yield from self._connection.execute(statement, values)

    def delete(self, table: str, **wanted: str | None) -> int:
        """Delete the rows that `select` finds; returns how many."""
        condition, values = condition_of(wanted)
        return self.write(f"DELETE FROM {table} WHERE {condition}", values)

    def put(self, table: str, row: Mapping[str, Any], *, is_replacing: bool = True) -> int:
        """Add a row, or replace that of the same key if `is_replacing`; returns how many were added."""
        otherwise = "REPLACE" if is_replacing else "IGNORE"
        marks = ",".join("?" * len(row))
        return self.write(
            f"INSERT OR {otherwise} INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )

    def write(self, statement: str, values: Sequence[Any]) -> int:
        """Change rows; returns how many."""
        with self._store_errors("cannot be written"):
            return self._connection.execute(statement, values).rowcount

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        self._connection.close()


def set_aside(error: DamagedStoreError) -> Path | None:
    """Give a damaged file a name of its own, with what SQLite keeps beside it. None where somebody else has. Raises
    OSError, and the error itself where what others are writing may only look like damage.
    """
    path, number = error.path, 1
    if error.inode is None:
        raise error
    if not path.exists() or path.stat().st_ino != error.inode:
        return None
    while (aside := path.with_name(f"{path.name}.damaged{number}")).exists():
        number += 1
    path.rename(aside)
    with suppress(OSError):
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        path.with_name(f"{path.name}-wal").rename(f"{aside}-wal")
    return aside


def check_owner(path: Path) -> None:
    """Raise StoreError where another user could have written the file, or where it, or one of those that SQLite keeps
    beside it, is none: to open a pipe may take for ever.
    """
    real = Path(os.path.realpath(path))
    beside = [real.with_name(real.name + ending) for ending in ("", "-wal", "-journal", "-shm")]
    strange = next((place for place in beside if place.exists() and not place.is_file()), None)
    reason = f"{strange} is not a file" if strange is not None else stranger_at(path.parent, path, real.parent, *beside)
    if reason:
        raise StoreError(f"the tuning database is not used: {reason}", path=path)


@functools.cache
def this_installation() -> int:
    """A number that another machine or user hardly has: a database says by whom it was written."""
    names = [platform.node()]
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            names = [Path(path).read_text(encoding="utf-8").strip() or platform.node()]
            break
    text = f"{names[0]} {os.geteuid() if hasattr(os, 'geteuid') else getpass.getuser()}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1 or 1


def _installation_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Readers and a writer need not wait for each other then.

    SQLite's timeout does not cover this change of a new file, which several processes may open at once. Where it stays
    locked everything works without, or the next step fails soon.
    """
    left_s, pause_s = OPEN_SECONDS, 0.02
    connection.execute("PRAGMA busy_timeout=0")
    while left_s > OPEN_SECONDS / 4:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            left_s = OPEN_SECONDS
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(pause_s)
            left_s -= pause_s
    connection.execute(f"PRAGMA busy_timeout={left_s * 1000:.0f}")


def _check_pages(connection: sqlite3.Connection) -> None:
    """Look through the whole file before anything is added to it."""
    for (problem,) in connection.execute("PRAGMA quick_check(1)"):
        if problem != "ok" and " value in " not in problem:  # single values are looked at when they are read
            raise sqlite3.DatabaseError(problem)


def _try_to_write(connection: sqlite3.Connection) -> None:
    """Write a page that changes nothing: a full or read-only disk shows before the work, not after."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version={_version(connection)}")
    connection.execute("COMMIT")


def distrust(connection: sqlite3.Connection) -> None:
    """Let nothing run that somebody has put into a file, not while it is checked either."""
    if hasattr(connection, "setlimit"):  # from Python 3.11 on
        connection.setlimit(_LIMIT_LENGTH, MAX_TEXT_BYTES)
    connection.execute("PRAGMA ignore_check_constraints=1")
    for (name,) in connection.execute(_STRANGE_OBJECTS):
        raise sqlite3.DatabaseError(f"it holds the {shown(name)}")
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
        quoted = table.replace('"', '""')
        for _, column, _, _, default, _, hidden in connection.execute(f'PRAGMA table_xinfo("{quoted}")'):
            if hidden or not _LITERAL.fullmatch(default or ""):
                raise sqlite3.DatabaseError(f"it holds the column {shown(column)}, which is computed")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def condition_of(wanted: Mapping[str, str | None]) -> tuple[str, tuple[str, ...]]:
    """The condition that columns have these values, those that are None left out, and the values."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(f"{name}=?" for name in given) or "1", tuple(given.values())
