"""Lines that outlast a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.errors import DataError
from tools.compare.journal import append_row, check_experiment, read_rows


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    append_row(path, {"a": 1})
    append_row(path, {"b": "ü"})
    assert read_rows(path) == [{"a": 1}, {"b": "ü"}]


def test_a_line_cut_short_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "half')
    assert read_rows(path) == [{"a": 1}]
    append_row(path, {"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 3}]


def test_a_damaged_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": }\n')
    with pytest.raises(DataError, match="line 2"):
        read_rows(path)


def test_rows_of_other_settings_are_refused(tmp_path: Path) -> None:
    rows = [{"experiment": "one"}]
    check_experiment(rows, key="one", path=tmp_path)
    with pytest.raises(DataError, match="other settings"):
        check_experiment(rows, key="two", path=tmp_path)
