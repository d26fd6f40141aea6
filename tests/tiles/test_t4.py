"""Exchange: what goes out comes in again, the fields are those of the format, and strangers are refused in words."""

from __future__ import annotations

import copy
import gzip
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clprune.errors import ClpruneError, StoreError
from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.earlier_hashes import EARLIER_HASHES
from clprune.kernels.workload import Workload
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import Key, result_key
from clprune.tiles.store import Store
from clprune.tiles.t4 import (
    MAX_DATABASE_BYTES,
    from_store,
    into_store,
    read_results,
    read_t4,
    to_document,
    write_t4,
)
from tests.imaginary import imaginary_device
from tools.search.recording import read_recording, read_recordings, write_recording

KERNEL = kernel_by_name("connected")
OPERATION = max(KERNEL.sample_operations(), key=lambda operation: operation.problem.batch)
DEVICE = imaginary_device()
FAST, SLOW, WRONG = KERNEL.gpu_tiles[:3]
PRUNED = Workload(kept_share=0.25, unit_rows=16)


def key(workload: Workload = PRUNED) -> Key:
    return result_key(DEVICE, Offer(kernel=KERNEL, operation=OPERATION, workload=workload))


@pytest.fixture
def store() -> Store:
    filled = Store(None)
    filled.add_device(DEVICE)
    filled.add_measurement(key(), FAST, time_ms=1.5, build_ms=80.0, runs_ms=(1.6, 1.5), relative_error=1e-7)
    filled.add_measurement(key(), SLOW, time_ms=2.5, runs_ms=(2.5,), measured_problem="n1 k7 m3")
    filled.add_measurement(key(), WRONG, time_ms=None, invalidity="correctness")
    filled.set_best(key(), FAST, workload=PRUNED, time_ms=1.4, default_time_ms=2.4)
    return filled


def test_fields_of_the_format(store: Store) -> None:
    document = to_document(from_store(store))
    assert document["schema_version"] == "1.0.0"
    fast, slow, wrong = document["results"]
    assert set(fast) == {
        "timestamp", "configuration", "objectives", "times", "invalidity", "correctness", "measurements", "clprune",
    }  # fmt: skip
    assert fast["configuration"]["group_m"] == FAST.group_m
    assert fast["objectives"] == ["time"]
    assert fast["times"] == {"runtimes": [1.6, 1.5], "compilation": 80.0, "compilation_time": 80.0}
    assert (fast["invalidity"], fast["correctness"]) == ("correct", 1)
    assert fast["measurements"][0] == {"name": "time", "value": 1.5, "unit": "ms"}
    assert fast["clprune"]["best"]["default_time_ms"] == 2.4
    assert "best" not in slow["clprune"]
    assert (wrong["invalidity"], wrong["correctness"], wrong["measurements"]) == ("correctness", 0, [])


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_out_and_in_again(store: Store, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_t4(path, from_store(store))
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    read = read_t4(path)
    assert read == from_store(store)
    other = Store(None)
    assert into_store(other, read, path="a/tiles.json") == 3
    assert into_store(other, read, path="a/tiles.json") == 0
    assert other.measurements(key(), KERNEL) == {FAST: 1.5, SLOW: 2.5, WRONG: None}
    (best,) = other.all_best()
    assert (best.origin, best.time_ms, best.kept_share, best.unit_rows) == ("imported from tiles.json", 1.4, 0.25, 16)
    offer = Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED)
    assert Lookup(other, DEVICE)(offer) == (FAST, "tuned (imported from tiles.json)")
    assert {item.origin for item in other.all_measurements()} == {"imported from tiles.json"}


def test_files_with_earlier_hashes_are_todays(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    earlier, *_, today = EARLIER_HASHES[KERNEL.name]
    write_t4(path, from_store(store))
    path.write_text(path.read_text().replace(today, earlier))
    assert read_t4(path) == from_store(store)


def test_import_does_not_replace_what_was_measured_here(store: Store) -> None:
    here = Store(None)
    here.add_measurement(key(), FAST, time_ms=9.0)
    here.set_best(key(), SLOW, workload=PRUNED, time_ms=8.0, default_time_ms=9.0)
    assert into_store(here, from_store(store), path="tiles.json") == 2
    assert here.measurements(key(), KERNEL)[FAST] == 9.0
    assert here.best(key(), KERNEL) == (SLOW, 8.0)


def test_prediction_without_a_time_stays_a_prediction() -> None:
    predicted = Store(None)
    predicted.add_device(DEVICE)
    predicted.set_best(key(), FAST, workload=PRUNED, time_ms=None, default_time_ms=None, origin="offline")
    other = Store(None)
    into_store(other, from_store(predicted), path="tiles.json")
    (best,) = other.all_best()
    assert (best.origin, best.time_ms) == ("offline", None)


def changed(store: Store, change: Any) -> Any:
    document = json.loads(json.dumps(to_document(from_store(store))))
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("results"), "not a T4 file"),
        (lambda d: d.update(schema_version="2.0.0"), "schema_version '2.0.0': this clprune reads 1.0.0"),
        (lambda d: d["results"][1].pop("clprune"), r"results\[1\]: no 'clprune'"),
        (lambda d: d["results"][0]["clprune"].update(kernel=3), r"results\[0\]: kernel is 3; expected text"),
        (lambda d: d["results"][0].update(configuration=[1]), r"results\[0\]: configuration"),
        (lambda d: d["results"][0].update(configuration={"a": [1]}), r"results\[0\]: configuration"),
        (
            lambda d: d["results"][2].update(invalidity="bad"),
            r"results\[2\]: invalidity is 'bad'; expected one of correct, ",
        ),
        (
            lambda d: d["results"][0]["measurements"][0].update(value="x"),
            r"results\[0\]: time_ms is 'x'; expected a finite number",
        ),
        (lambda d: d["results"][0]["clprune"].update(best=1), r"results\[0\]: clprune\.best"),
        (lambda d: d["metadata"]["devices"].update(a={"device": "a"}), "device 'a': platform_vendor is None"),
        (lambda d: d["results"].append(7), r"results\[3\]: no 'clprune'"),
    ],
)
def test_strangers_are_refused_in_words(store: Store, tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(changed(store, change)))
    with pytest.raises(StoreError, match=words) as caught:
        read_t4(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x1f\x8b broken", b"\xff\xfe"])
def test_not_even_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"not JSON|not a T4 file|not a whole gzip file"):
        read_t4(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"results": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deeply: expected at most 32 levels"),
        (b'{"a": -Infinity}', "-Infinity: expected finite numbers"),
        (b'{"a": NaN}', "NaN: expected finite numbers"),
        (b'{"a": 1e999}', "1e999: expected finite numbers"),
        (b'{"a": 1' + b"0" * 400 + b"}", "expected whole numbers of at most 64 bits"),
        (b'{"a": "\\ud800"}', "expected at most 65536 characters, all printable"),
        (b'{"a": "\\u001b[2J"}', "all printable"),
        (b'{"a\\u0000": 1}', "all printable"),
        (gzip.compress(b'{"a": 1}' * 99, mtime=0)[:-9], "not a whole gzip file"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-6] + b"123456", "not a whole gzip file"),
        (gzip.compress(b"{}", mtime=0)[:12] + b"\xff" * 20, "not a whole gzip file"),
        (gzip.compress(b"[" + b" " * (1 << 27)), "more than 67108864 bytes"),
        (gzip.compress(b"[" + b"[]," * 5_000_000), "or 4000000 values of JSON"),
    ],
)
def test_what_no_json_of_ours_is(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=words) as caught:
        read_t4(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


#: What a value in a file may be instead.
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        0.5,
        -1e300,
        2**31,
        2**63,
        2**64,
        "",
        "x",
        "\n",
        "a\tb",
        [],
        [[]],
        [None],
        {},
        {"": {}},
        "9" * 99,
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_other_value_is_refused_or_of_no_harm(store: Store, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever stands in its places, a document is refused in one line, or written to a database and out again."""
    document = changed(store, lambda document: None)
    for _ in range(data.draw(st.integers(1, 3))):
        place = document
        while isinstance(place, dict | list) and place:
            name = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if data.draw(st.integers(0, 3)) == 0 or not isinstance(place[name], dict | list):
                place[name] = copy.deepcopy(data.draw(VALUES))
                break
            place = place[name]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    try:
        results = read_t4(path)
        with Store(None) as other:
            into_store(other, results, path="tiles.json")
            write_t4(tmp_path / "b.json", from_store(other))
            Lookup(other, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED))
    except ClpruneError as error:
        assert str(error).isprintable()
    else:
        read_t4(tmp_path / "b.json")


def test_a_database_beyond_all_bounds_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may say that it is large and take no space."""
    path = tmp_path / "sparse.sqlite"
    path.write_bytes(b"SQLite format 3\0")
    os.truncate(path, MAX_DATABASE_BYTES + 1)
    with pytest.raises(StoreError, match=r"sparse.sqlite: 1073741825 bytes: expected a tuning database of at most"):
        read_results(path)
    os.truncate(path, 4096)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StoreError, match=r"sparse.sqlite: cannot be .*: No space left on device$"):
        read_results(path)


def test_another_programs_database_is_none(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE moz_places (url)")
        other.commit()
    with pytest.raises(
        StoreError, match=r"history.sqlite: not a tuning database, .* another program's, with moz_places$"
    ):
        read_results(path)


def test_results_of_a_device_that_nobody_describes_are_refused(store: Store, tmp_path: Path) -> None:
    """They would be kept, and in no list."""
    results, other = replace(from_store(store), devices={}), Store(None)
    with pytest.raises(StoreError, match=r"^a.json: it has results of '.*, which is not in its metadata.devices"):
        into_store(other, results, path="a.json")
    assert not list(other.all_measurements())
    other.add_device(DEVICE)
    assert into_store(other, results, path="a.json") == 3


def test_kernel_tuners_spelling_of_the_compilation_time(store: Store, tmp_path: Path) -> None:
    document = changed(store, lambda d: d["results"][0]["times"].pop("compilation_time"))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    assert read_t4(path).measurements[0].build_ms == 80.0


def test_recording_outlives_the_kernels_parameters(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "small.json.gz"
    write_recording(path, from_store(store), starts=[SLOW])
    document = json.loads(gzip.decompress(path.read_bytes()))
    for entry in (*(result["configuration"] for result in document["results"]), *document["metadata"]["starts"]):
        entry["of_old"] = 3
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    (recording,) = read_recordings(tmp_path)
    assert recording.name == "small"
    assert recording.key == key()
    assert recording.parameters["of_old"] == (3,)
    assert recording.parameters["group_m"] == tuple(sorted({FAST.group_m, WRONG.group_m}))
    assert recording.best_ms == 1.5
    (start,) = recording.starts
    assert recording.slowdown(start) == pytest.approx(2.5 / 1.5)
    assert sorted(map(str, recording.times_ms.values())) == ["1.5", "2.5", "None"]


def test_recording_of_two_problems_is_none(store: Store, tmp_path: Path) -> None:
    store.add_measurement(key(Workload()), FAST, time_ms=1.0)
    write_recording(tmp_path / "a.json.gz", from_store(store), starts=[])
    with pytest.raises(StoreError, match="results of 2 problems"):
        read_recording(tmp_path / "a.json.gz")
