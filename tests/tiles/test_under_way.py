"""A database that is damaged, held or somebody else's: look-ups go on without, in time and with one line."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from clprune.errors import DamagedStoreError, StoreError
from clprune.folders import stranger_at
from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.opencl import binary_cache
from clprune.tiles.database import StoreWarning, this_installation
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.state import store_state
from clprune.tiles.store import DATABASE_NAME, Store, open_store, open_store_for_lookups
from tests.imaginary import imaginary_device

KERNEL = kernel_by_name("connected")
DEVICE = imaginary_device()
OFFER = Offer(kernel=KERNEL, operation=KERNEL.sample_operations()[1])
TILE = next(tile for tile in KERNEL.gpu_tiles if OFFER.rejection(tile, DEVICE) is None)
PAGE_BYTES = 4096

owners = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users and modes as on Unix")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data" / DATABASE_NAME
    with Store(file) as store:
        store.add_device(DEVICE)
        store.add_measurement(result_key(DEVICE, OFFER), TILE, time_ms=1.0)
        store.set_best(result_key(DEVICE, OFFER), TILE, workload=Workload(), time_ms=1.0, default_time_ms=2.0)
    return file


def look_up(path: Path) -> tuple[bool, list[str]]:
    """Whether the tile was found, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_store_for_lookups(path) as store:
            found = Lookup(store, DEVICE)(OFFER)
    return found == (TILE, "tuned"), [str(item.message) for item in caught]


def damage_first_page(path: Path) -> None:
    path.write_bytes(b"\xa5" * 100 + path.read_bytes()[100:])


def damage_behind_the_first_page(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:PAGE_BYTES] + b"\xa5" * (len(content) - PAGE_BYTES))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: PAGE_BYTES + 100])


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


DAMAGE = {
    "first page": damage_first_page,
    "behind the first page": damage_behind_the_first_page,
    "cut short": cut_short,
    "a letter": lambda path: path.write_text("This is a letter to a friend.\n" * 100),
    "missing table": lambda path: change(path, "DROP TABLE best"),
    "missing column": lambda path: change(path, "ALTER TABLE best RENAME COLUMN time_ms TO ms"),
    "no text": lambda path: change(path, "UPDATE best SET tile=CAST(x'ff' AS TEXT)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_database_is_set_aside(path: Path, damage: str) -> None:
    DAMAGE[damage](path)
    content = path.read_bytes()
    found, said = look_up(path)
    assert not found
    (line,) = said
    assert line.startswith(f"{path}: not a tuning database, or damaged: ")
    assert line.endswith(f"it is set aside as {DATABASE_NAME}.damaged1")
    assert path.with_name(f"{DATABASE_NAME}.damaged1").read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [f"{DATABASE_NAME}.damaged1"]
    assert look_up(path) == (False, [])


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "no text"])
def test_who_writes_begins_anew(path: Path, damage: str) -> None:
    DAMAGE[damage](path)
    path.with_name(f"{DATABASE_NAME}.damaged1").write_text("of another day")
    with pytest.warns(StoreWarning, match=r"set aside as tuning\.sqlite\.damaged2"):
        store = open_store(path, to_write=True)
    with store:
        assert store.all_best() == []
        store.add_device(DEVICE)
    assert path.with_name(f"{DATABASE_NAME}.damaged1").read_text() == "of another day"


def test_healthy_file_that_took_the_name_stays(path: Path) -> None:
    """Of two programs that find the damage, one puts a new database in the place of the old."""
    damage_behind_the_first_page(path)
    with pytest.raises(DamagedStoreError) as caught:
        Store(path)
    with pytest.warns(StoreWarning), open_store(path, to_write=True):
        pass
    healthy = path.stat().st_ino
    from clprune.tiles.database import set_aside

    assert set_aside(caught.value) is None
    assert path.stat().st_ino == healthy


@pytest.mark.parametrize("value", ["'soon'", "x'00ff'", "-1", "9e999"])
@pytest.mark.parametrize("column", ["time_ms", "kept_share", "unit_rows"])
def test_row_that_makes_no_sense_is_passed_over(path: Path, column: str, value: str) -> None:
    change(path, f"UPDATE best SET {column}={value}")
    found, said = look_up(path)
    assert not found
    (line,) = said
    assert line.startswith(f"{path}: rows of best make no sense and are passed over, the first as its {column} is ")
    assert path.exists()


@contextmanager
def held(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE best SET timestamp='now'")
        yield


def test_held_database_costs_a_line(path: Path) -> None:
    with held(path):
        found, said = look_up(path)
    assert not found
    assert said == [f"{path}: the tuning database cannot be opened: database is locked; going on without tuned tiles"]
    assert look_up(path) == (True, [])


def test_look_ups_wait_two_seconds_at_most(path: Path) -> None:
    with open_store_for_lookups(path) as store:
        (wait_ms,) = store._connection.execute("PRAGMA busy_timeout").fetchone()
    assert 0 < wait_ms <= 2000


def test_held_database_is_a_failure_of_who_writes(path: Path) -> None:
    """After as long a wait."""
    with held(path), pytest.raises(StoreError, match="cannot be opened: database is locked"):
        open_store(path, to_write=True)


def as_on_another_machine(path: Path) -> None:
    change(path, f"PRAGMA application_id={this_installation() ^ 1}")


@pytest.mark.parametrize("by", ["who looks up", "who writes", "who can only read"])
def test_what_another_installation_measured_is_imported(path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a device of the same name with the same driver: nothing of it was checked here."""
    with Store(path) as store:
        store.set_right(DEVICE, KERNEL, TILE, is_right=True)
    as_on_another_machine(path)
    if by == "who can only read":
        monkeypatch.setattr(Store, "_adopt", lambda store, connection: False)
    with open_store_for_lookups(path) if by != "who writes" else open_store(path, to_write=True) as store:
        assert Lookup(store, DEVICE)(OFFER) == (TILE, "tuned (imported)")
        assert Lookup(store, DEVICE).time_ms(OFFER) is None
        assert store.best(result_key(DEVICE, OFFER), KERNEL) is None
        assert store.is_right(DEVICE, KERNEL, TILE) is None
        assert [one.origin for one in store.all_measurements()] == ["imported"]


def test_what_is_measured_in_an_adopted_file_is_own(path: Path) -> None:
    as_on_another_machine(path)
    with open_store(path, to_write=True) as store:
        store.set_best(result_key(DEVICE, OFFER), TILE, workload=Workload(), time_ms=1.0, default_time_ms=2.0)
    assert look_up(path) == (True, [])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "CREATE TRIGGER spread AFTER INSERT ON checked BEGIN DELETE FROM best; END",
        "CREATE INDEX costly ON checked (length(hex(zeroblob(9))))",
    ],
)
def test_objects_that_run_what_a_stranger_wrote_are_damage(path: Path, statement: str) -> None:
    change(path, statement)
    found, (line,) = look_up(path)
    assert not found
    assert f"damaged: it holds the {statement.split()[1].lower()} {statement.split()[2]}" in line


@pytest.mark.parametrize(
    ("column", "computed"),
    [
        ("time_ms REAL", "time_ms REAL AS (hex(zeroblob(90000)) GLOB '*0*0*0*0*0*0*1')"),
        ("tile TEXT NOT NULL", "tile TEXT NOT NULL AS (upper('x')) STORED"),
        ("time_ms REAL", "time_ms REAL DEFAULT (hex(zeroblob(90000)) GLOB '*0*0*0*0*0*0*1')"),
        ("time_ms REAL", "time_ms REAL, more TEXT DEFAULT (randomblob(1000000))"),
    ],
)
def test_columns_that_compute_what_a_stranger_wrote_are_damage(path: Path, column: str, computed: str) -> None:
    """The patterns would take hours."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (before,) = connection.execute("SELECT sql FROM sqlite_master WHERE name='best'").fetchone()
        assert column in before
        connection.execute("PRAGMA writable_schema=1")
        connection.execute("UPDATE sqlite_master SET sql=? WHERE name='best'", (before.replace(column, computed, 1),))
    found, (line,) = look_up(path)
    assert not found
    assert "damaged: it holds the column " in line and "which is computed" in line


def test_conditions_that_a_stranger_wrote_are_not_computed(path: Path) -> None:
    """They would fail here: the check of the file runs none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (before,) = connection.execute("SELECT sql FROM sqlite_master WHERE name='checked'").fetchone()
        connection.execute("PRAGMA writable_schema=1")
        after = before[: before.rindex(")")] + ", CHECK (length(hex(randomblob(1000000000000))) > 0))"
        connection.execute("UPDATE sqlite_master SET sql=? WHERE name='checked'", (after,))
    with open_store(path, to_write=True) as store:
        assert list(store.all_measurements())


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "setlimit"), reason="Python 3.11 has it first")
def test_texts_that_nobody_tuned(path: Path) -> None:
    change(path, "UPDATE best SET tile=printf('%.*c', 3000000, 'x')")
    found, (line,) = look_up(path)
    assert not found and "too big" in line


@pytest.mark.parametrize("text", ["[" * 10000, "[1e999]", "[1" + "0" * 5000 + "]", "{}", "7", r'["\ud800"]'])
def test_runs_that_are_no_list_of_times(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE measurement SET runs_ms=?", (text,))
    with open_store(path) as store, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [one.runs_ms for one in store.all_measurements()]
    assert found in ([], [()])
    assert len(caught) == 1 - len(found)


@owners
def test_folders_above_that_others_may_write(tmp_path: Path) -> None:
    """There they could put another data folder in its place; not where only owners may rename, as in /tmp."""
    folder = tmp_path / "above" / "data"
    folder.mkdir(parents=True)
    for mode, is_safe in ((0o777, False), (0o1777, True), (0o755, True)):
        folder.parent.chmod(mode)
        assert (stranger_at(folder) == "") == is_safe
    folder.parent.chmod(0o777)
    assert f"other users may write {folder.parent} (mode 777)" in stranger_at(folder)


def test_database_that_is_taken_while_it_is_used(path: Path) -> None:
    """Also then nothing waits more than once."""
    with open_store_for_lookups(path) as store, pytest.warns(StoreWarning) as caught:
        lookup = Lookup(store, DEVICE)
        change(path, "DROP TABLE best")
        assert lookup(OFFER) is None
        assert store.is_right(DEVICE, KERNEL, TILE) is None
        store.set_right(DEVICE, KERNEL, TILE, is_right=True)
    assert len(caught) == 1


def test_look_ups_make_no_database(tmp_path: Path) -> None:
    assert look_up(tmp_path / "none" / DATABASE_NAME) == (False, [])
    assert not (tmp_path / "none").exists()


@owners
@pytest.mark.parametrize(("which", "mode"), [("file", 0o666), ("file", 0o602), ("folder", 0o777), ("folder", 0o1777)])
def test_database_that_others_may_write_is_not_used(path: Path, which: str, mode: int) -> None:
    place = path if which == "file" else path.parent
    before = place.stat().st_mode
    place.chmod(mode)
    reason = f"other users may write {place} (mode {mode:o}): chmod go-w, or move it away"
    assert look_up(path) == (
        False,
        [f"{path}: the tuning database is not used: {reason}; going on without tuned tiles"],
    )
    for to_write in (False, True):
        with pytest.raises(StoreError, match="is not used: other users may write"):
            open_store(path, to_write=to_write)
    place.chmod(before)
    assert look_up(path) == (True, [])


@owners
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="gives files away: needs root")
@pytest.mark.parametrize("which", ["file", "folder", "log"])
def test_database_of_another_user_is_not_used(path: Path, which: str) -> None:
    log = path.with_name(DATABASE_NAME + "-wal")
    place = {"file": path, "folder": path.parent, "log": log}[which]
    if which == "log":
        log.touch()
    os.chown(place, 65534, 65534)
    found, (line,) = look_up(path)
    assert not found
    assert f"is not used: {place} belongs to another user (number 65534)" in line


@owners
@pytest.mark.parametrize("which", ["the file", "its folder", "a folder above", "a link to a link"])
def test_links_that_others_may_turn_elsewhere_are_not_followed(path: Path, tmp_path: Path, which: str) -> None:
    """Whatever they lead to at the moment."""
    shared = tmp_path / "shared"
    shared.mkdir()
    if which == "the file":
        (shared / "data").mkdir(mode=0o700)
        place = shared / path.name
        place.symlink_to(path)
    elif which == "its folder":
        (shared / "link").symlink_to(path.parent)
        place = shared / "link" / path.name
    elif which == "a folder above":
        (shared / "link").symlink_to(path.parent.parent)
        place = shared / "link" / path.parent.name / path.name
    else:
        (shared / "link").symlink_to(path)
        place = tmp_path / "own" / path.name
        place.parent.mkdir(mode=0o700)
        place.symlink_to(os.path.relpath(shared / "link", place.parent))
    assert look_up(place) == (True, [])
    shared.chmod(0o777)
    found, (line,) = look_up(place)
    assert not found
    assert f"is not used: other users may write {shared} (mode 777)" in line.replace(
        f"{place.parent}/../", f"{tmp_path}/"
    )
    assert "other users may write" in store_state(DEVICE, path=place).problem


@owners
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="gives files away: needs root")
def test_links_of_another_user_are_not_followed(path: Path, tmp_path: Path) -> None:
    """Also in a folder like /tmp, where nobody else could replace them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(path.parent)
    assert look_up(shared / "link" / path.name) == (True, [])
    os.chown(shared / "link", 65533, 65533, follow_symlinks=False)
    found, (line,) = look_up(shared / "link" / path.name)
    assert not found
    assert f"is not used: {shared / 'link'} belongs to another user (number 65533)" in line


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
def test_pipes_in_the_place_of_its_files_are_not_opened(path: Path, ending: str) -> None:
    """SQLite would wait for ever for somebody to write into them."""
    place = path.with_name(path.name + ending)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    assert look_up(path) == (
        False,
        [f"{path}: the tuning database is not used: {place} is not a file; going on without tuned tiles"],
    )
    with pytest.raises(StoreError, match="is not a file"):
        open_store(path, to_write=True)
    assert store_state(DEVICE, path=path).problem.endswith("is not a file")


@pytest.mark.parametrize("table", ["device", "measurement", "best"])
def test_state_of_a_database_that_would_run_what_a_stranger_wrote(path: Path, table: str) -> None:
    """To count the rows of this view takes for ever."""
    change(path, f"DROP TABLE {table}")
    endless = "WITH RECURSIVE n(device) AS (SELECT 1 UNION ALL SELECT device + 1 FROM n) SELECT device FROM n"
    change(path, f"CREATE VIEW {table} AS {endless}")
    state = store_state(DEVICE, path=path)
    assert (state.exists, state.winners, state.problem) == (True, 0, f"it holds the view {table}")


@owners
def test_groups(tmp_path: Path) -> None:
    """Only the group of the user's own name may write, as where each user has one."""
    import grp
    import pwd

    file = tmp_path / "file"
    file.touch()
    file.chmod(0o660)
    own = grp.getgrgid(file.stat().st_gid)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert (stranger_at(file) == "") == (own.gr_name == user and set(own.gr_mem) <= {user})
    if os.geteuid() == 0:
        os.chown(file, 0, 65534)
        assert "other users may write" in stranger_at(file)


@owners
@pytest.mark.parametrize("which", ["entry", "folder"])
def test_built_kernels_that_others_may_write_are_not_used(
    tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    entry, other = (binary_cache.entry_path(DEVICE, source, ()) for source in ("one", "other"))
    binary_cache.store(entry, b"binary")
    place = entry if which == "entry" else entry.parent
    place.chmod(0o777)
    with pytest.warns(UserWarning, match="built kernels .* other users may write"):
        assert binary_cache.load(entry) is None
    if which == "folder":
        with pytest.warns(UserWarning, match="neither used nor kept"):
            binary_cache.store(other, b"binary")
        assert not other.exists()
        place.chmod(0o700)
    else:
        binary_cache.store(entry, b"anew")
        assert binary_cache.load(entry) == b"anew"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux lists them")
def test_connections_are_closed_after_failures_too(path: Path) -> None:
    def count() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before = count()
    look_up(path)
    change(path, "PRAGMA user_version=99")
    for _ in range(20):
        look_up(path)
        with pytest.raises(StoreError):
            open_store(path, to_write=True)
    damage_behind_the_first_page(path)
    with pytest.raises(StoreError):
        Store(path)
    assert count() == before


def test_damage_that_sqlite_quotes_in_no_utf8_is_damage(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE best", b"CREATE TABL\x9e best"))
    assert store_state(DEVICE, path=path).problem
    found, said = look_up(path)
    assert not found
    assert len(said) == 1
    assert "damaged" in said[0]
