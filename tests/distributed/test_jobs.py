"""Items go to workers in bounded parts and come back once each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from clprune.distributed.jobs import Job, run_job
from clprune.errors import DataError, WorkerError

OPENED: list[object] = []


class Opened:
    """What a worker opens."""

    def __init__(self) -> None:
        OPENED.append(self)

    def close(self) -> None:
        OPENED.remove(self)


def double(opened: Opened, items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


def refuse(opened: Opened, items: Sequence[int]) -> list[int]:
    raise DataError("expected no such item", path="somewhere", line=3)


def give_up(item: int, error: WorkerError) -> int:
    raise error


JOB = Job(open=Opened, answer=double, lost=give_up)


def test_in_order(client: Any) -> None:
    assert list(run_job(client, JOB, range(500))) == list(range(0, 1000, 2))


def test_as_they_come_each_once(client: Any) -> None:
    assert sorted(run_job(client, JOB, range(500), in_order=False)) == list(range(0, 1000, 2))


def test_no_items(client: Any) -> None:
    assert list(run_job(client, JOB, [])) == []


def test_a_stream_without_an_end_is_read_no_further_than_needed(client: Any) -> None:
    """Parts under way are bounded; what was opened on the workers is closed when nobody wants more."""
    read = itertools.count()
    results = run_job(client, JOB, read)
    assert list(itertools.islice(results, 10)) == list(range(0, 20, 2))
    assert 1 <= len(OPENED) <= 2
    results.close()
    assert next(read) < 100
    assert OPENED == []


def test_errors_of_the_work_arrive(client: Any) -> None:
    with pytest.raises(DataError, match=r"somewhere:3: expected no such item") as caught:
        list(run_job(client, Job(open=Opened, answer=refuse, lost=give_up), range(3)))
    assert caught.value.line == 3
