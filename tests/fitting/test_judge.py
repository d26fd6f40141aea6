"""How far judging is: by the work that is left, whatever was recorded before."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
# what follows needs it

from clprune.container.model import load_model
from clprune.data import load_data
from clprune.fitting.judge import Judge, stored_of
from clprune.fitting.record import Record
from clprune.progress import Progress
from clprune.training.refit import Reference
from tests.cli.conftest import model

__all__ = ["model"]


def test_progress_counts_work_and_not_what_was_recorded(model: Path) -> None:
    dense = load_model(model)
    data = load_data("synthetic", split="train", height=11, width=13, count=8)
    reference = Reference(dense.network, dense.weights, data)
    record = Record(None, facts={}, layers=[0, 2, 3])
    record.get("losses", stored_of(3, 8)[1], lambda: 0.25)
    events: list[Progress] = []
    judge = Judge(model=dense, reference=reference, record=record, progress=events.append)
    for index, work in ((0, 1000.0), (2, 10.0), (3, 5000.0)):
        judge.expect([stored_of(index, 8)], work)
    assert [judge.stored_loss(index, 8) == 0.25 for index in (0, 3, 2, 0)] == [False, True, False, False]
    assert [(event.place, event.done, event.total) for event in events] == [
        ("0 8 bits", 0, 1010),
        ("2 8 bits", 1000, 1010),
    ]


def test_layers_that_take_longer_count_more(model: Path) -> None:
    dense = load_model(model)
    data = load_data("synthetic", split="train", height=11, width=13, count=8)
    reference = Reference(dense.network, dense.weights, data)
    judge = Judge(model=dense, reference=reference, record=Record(None, facts={}, layers=[0, 2, 3]))
    small, large = (judge.work([index], whole=False) for index in (0, 2))
    assert large == small * 16 / 9 * 81**2 / 27**2  # rows x columns^2
    assert judge.work([0, 2], whole=True) == small + large + reference.work_from(0)
