"""Items go to workers in bounded parts and come back once each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from clprune.data.folder import ImageFiles
from clprune.dataset import DataSet
from clprune.distributed.evaluate import _parts
from clprune.distributed.evaluate import _size_bytes as part_bytes
from clprune.distributed.images import _size_bytes as image_bytes
from clprune.distributed.jobs import MOST_BYTES, Job, run_job
from clprune.errors import DataError, WorkerError
from clprune.picture import ImageBytes

OPENED: list[object] = []


class Opened:
    """What a worker opens."""

    def __init__(self) -> None:
        OPENED.append(self)

    def close(self) -> None:
        OPENED.remove(self)


def double(opened: Opened, items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


def count(opened: Opened, items: Sequence[int]) -> list[int]:
    return [len(items)] * len(items)


def refuse(opened: Opened, items: Sequence[int]) -> list[int]:
    raise DataError("expected no such item", path="somewhere", line=3)


def give_up(item: int, error: WorkerError) -> int:
    raise error


def nothing(item: object) -> int:
    return 0


JOB = Job(open=Opened, answer=double, lost=give_up, size_bytes=nothing)


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


@pytest.mark.parametrize(("size_bytes", "most"), [(MOST_BYTES, 1), (MOST_BYTES // 3, 4), (1, 16)])
def test_parts_are_bounded_by_what_their_items_take(client: Any, size_bytes: int, most: int) -> None:
    job = replace(JOB, answer=count, size_bytes=lambda item: size_bytes)
    found = list(run_job(client, job, range(48), first_items=16))
    assert len(found) == 48 and max(found) == most


def test_parts_under_way_are_bounded_by_what_they_take(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers may have nine parts under way: of large items, no more than the bytes allow."""
    monkeypatch.setattr("clprune.distributed.jobs.MOST_BYTES_UNDER_WAY", 100)
    read = itertools.count()
    results = run_job(client, replace(JOB, size_bytes=lambda item: 40), read)
    assert list(itertools.islice(results, 20)) == list(range(0, 40, 2))
    results.close()
    assert next(read) <= 20 + 3


def test_images_on_their_way_are_counted() -> None:
    """Arrays and bytes travel whole, of files the paths."""
    pixels = np.zeros((5, 3, 8, 8), np.uint8)
    data = DataSet(name="five", images=pixels, labels=np.arange(5), class_names=tuple("abcde"))
    assert [part_bytes(part) for part in _parts(data, 2)] == [384, 384, 192]
    files = replace(data, images=ImageFiles(paths=(Path("a"),) * 5, height=8, width=8))
    assert [part_bytes(part) for part in _parts(files, 2)] == [2, 2, 1]
    assert [image_bytes(one) for one in (ImageBytes(path="a", data=bytes(7)), "abc", Path("ab"))] == [7, 3, 2]


def test_errors_of_the_work_arrive(client: Any) -> None:
    with pytest.raises(DataError, match=r"somewhere:3: expected no such item") as caught:
        list(run_job(client, replace(JOB, answer=refuse), range(3)))
    assert caught.value.line == 3
