"""What a killed `clprune fit` finds again: its own record, and no stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clprune.errors import FileError, UsageError
from clprune.fitting.record import VERSION, Record
from tests.fitting.test_choice import make_table

FACTS = {"batch": 1}
TIME = {"whole_ms": 2.5, "layers": {"0": 1.0, "2": 0}}
WHOLE: dict[str, dict[str, Any]] = {
    "times": {"dense": TIME}, "rows": {"workgroup": {"0": 4, "2": 8}}, "losses": {"0 dense": 0.25},
    "answers": {"0 dense; 2 dense": 0}, "chosen": {"all": {"name": "0 dense; 2 dense", "attempts": 1}},
}  # fmt: skip


def record(path: Path, **facts: Any) -> Record:
    return Record(path, facts=FACTS | facts, layers=[0, 2])


def write(path: Path, sections: Any) -> Path:
    path.write_text(json.dumps({"facts": {"version": VERSION, **FACTS}, **sections}))
    return path


def test_a_record_goes_on_and_refuses_strangers(tmp_path: Path) -> None:
    path = tmp_path / "a.fit.json"
    record(path).get("times", "dense", lambda: TIME)
    again = record(path)
    assert again.get("times", "dense", lambda: pytest.fail("is known")) == TIME
    with pytest.raises(FileError, match="another batch: remove it"):
        record(path, batch=2)
    path.write_text('{"facts":')
    with pytest.raises(FileError, match=r"a\.fit\.json"):
        record(path)


def test_all_that_is_kept_is_read(tmp_path: Path) -> None:
    found = record(write(tmp_path / "a.fit.json", WHOLE))
    assert all(found.known(section, name) == value for section, one in WHOLE.items() for name, value in one.items())


@pytest.mark.parametrize(
    ("section", "value", "text"),
    [
        *(("times", {**TIME, "whole_ms": bad}, "expected a number") for bad in (None, "1", True, -1, 1e300, [], {})),
        *(("times", {**TIME, "layers": {"0": bad, "2": 1}}, "expected a number") for bad in (None, "1", False, -0.5)),
        *(("times", {**TIME, "layers": layers}, "expected 0, 2") for layers in ({}, {"0": 1}, {"0": 1, "7": 1})),
        *(
            ("times", bad, "expected an object")
            for bad in (None, 1.5, [TIME], {"whole_ms": 1}, {**TIME, "layers": [1]})
        ),
        ("times", {**TIME, "whole_ms": 0}, "0 ms, expected more"),
        *(("rows", {"0": bad, "2": 4}, "expected rows from 1") for bad in (0, -4, 4.0, True, "4", 2**31, None, [4])),
        *(("rows", bad, "expected 0, 2") for bad in ({}, {"0": 4}, {"0": 4, "2": 4, "3": 4})),
        *((name, bad, "expected a number") for name in ("losses", "answers") for bad in (None, "0", True, -1e-9, 1e31)),
        *(("chosen", bad, "expected an object") for bad in (None, "0 dense", ["0 dense"])),
        ("chosen", {"name": 3, "attempts": 1}, "name is 3: expected str"),
        ("chosen", {"attempts": 1}, "name is None"),
        *(("chosen", {"name": "x", "attempts": bad}, "expected") for bad in (None, 1.0, -1, 2**40, "1")),
        ("times of another kind", 1, "section 'times of another kind': expected times, rows"),
    ],
)
def test_values_of_a_stranger_are_refused(tmp_path: Path, section: str, value: Any, text: str) -> None:
    path = write(tmp_path / "a.fit.json", {**WHOLE, section: {"dense": value}})
    with pytest.raises(FileError, match=text) as caught:
        record(path)
    assert str(caught.value).startswith(f"{path}: ") and "remove it, or give another PREFIX" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"facts": 1}', '{"times": []}', '{"facts": {}, "times": {"dense": NaN}}', "[" * 100_000]
)
def test_no_record_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.fit.json"
    path.write_text(text)
    with pytest.raises(FileError):
        record(path)


def test_a_choice_of_another_table_is_refused(tmp_path: Path) -> None:
    table = make_table(tmp_path, 0)
    index = next(iter(table.entries))
    for name in ("", "9 dense", "; ".join(f"{other} dense" for other in table.entries if other != index)):
        with pytest.raises(UsageError, match=f"expected a way of layer {index} that was measured"):
            table.named(name)
