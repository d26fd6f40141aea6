"""Accuracies on other images beside the rows that they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="evaluating needs PyTorch")

from tools.compare.coded_others import OTHERS, with_others
from tools.compare.journal import append_row


def test_rows_get_what_was_measured_of_them(tmp_path: Path) -> None:
    rows = [{"seed": 1, "name": "int8", "accuracy": 0.9}, {"seed": 2, "name": "int8", "accuracy": 0.8}]
    assert with_others(rows, work=tmp_path) == rows
    append_row(tmp_path / OTHERS, {"seed": 0, "name": "dense", "accuracy": 0.95, "images": 100})
    append_row(tmp_path / OTHERS, {"seed": 1, "name": "int8", "accuracy": 0.85, "images": 100})
    found = with_others(rows, work=tmp_path)
    facts = {"other_accuracy": 0.85, "other_dense_accuracy": 0.95, "other_images": 100}
    assert found == [{**rows[0], **facts}, rows[1]]
