"""Answers of workers are those of the plain command, from every kind of source, and a file of them is gone on with."""

from __future__ import annotations

import json
import os
import pickle
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

import pyarrow
from pyarrow import parquet

import clprune
from clprune import Detector, Runner, UsageError, distributed
from clprune.distributed.answers import AnswerFile
from clprune.distributed.sources import _rows_of_images, count_images, images_in
from clprune.errors import DataError, FileError
from clprune.opencl import Session
from clprune.picture import ImageBytes
from tests.cli.conftest import Run
from tests.detection.models import write_detector

pytestmark = pytest.mark.usefixtures("device_context")


def plain(run: Run, *arguments: object) -> list[dict[str, Any]]:
    """Answers of the command without workers, but for the times."""
    return timeless(run("infer", *arguments, "--json").out.splitlines())


def timeless(lines: list[str]) -> list[dict[str, Any]]:
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def test_a_runner_is_pickled_as_its_settings(model: Path, device_context: Session, monkeypatch: Any) -> None:
    x = np.random.default_rng(0).random((2, 3, 11, 13), np.float32)
    monkeypatch.chdir(model.parent)
    with Runner(model.name, batch=2) as runner:
        text = pickle.dumps(runner)
        monkeypatch.chdir("/")
        with pickle.loads(pickle.dumps(pickle.loads(text))) as copy:
            assert "session" not in vars(copy)
            assert np.array_equal(copy(x), runner(x))
            assert not hasattr(copy, "absent")
    pickle.loads(text).close()
    with (
        Runner(clprune.load_model(model), session=device_context) as runner,
        pytest.raises(UsageError, match="device="),
    ):
        pickle.dumps(runner)
    loaded = Runner(clprune.load_model(model))
    model.unlink()  # a model in memory travels whole
    assert np.array_equal(pickle.loads(pickle.dumps(loaded))(x), loaded(x))


def test_answers_are_those_of_a_runner(client: Any, model: Path, images: list[Path], broken: Path) -> None:
    with Runner(model) as runner:
        wanted = [runner(clprune.image.read_input(path, channels=3, height=11, width=13)[None])[0] for path in images]
    source = [str(images[0]), str(broken), ImageBytes(path="in memory", data=images[1].read_bytes()), str(images[2])]
    found = list(distributed.map_images(client, model, source))
    assert [answer.path for answer in found] == [str(image) for image in source]
    assert str(found[1].error) == f"{broken}: cannot be read as an image: of no known format"
    for answer, values in zip((found[0], *found[2:]), wanted, strict=True):
        assert answer.values is not None
        assert np.array_equal(answer.values, values)
    unordered = distributed.map_images(client, model, source, in_order=False)
    assert sorted(answer.path for answer in unordered) == sorted(map(str, source))


def test_evaluation_is_that_of_one_device(client: Any, model: Path) -> None:
    one = clprune.evaluate(model, data="synthetic", count=40)
    many = distributed.evaluate(client, model, data="synthetic", count=40)
    assert (many.images, many.accuracy, many.top5_accuracy) == (one.images, one.accuracy, one.top5_accuracy)


def test_sources(tmp_path: Path, images: list[Path]) -> None:
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    for name in ("10.png", "9.png", "b/1.png", "notes.md", ".hidden.png"):
        (folder / name).write_bytes(images[0].read_bytes())
    in_folder = [str(folder / name) for name in ("9.png", "10.png", "b/1.png")]
    listed = tmp_path / "list.txt"
    listed.write_text(f"\n{images[0]}\r\n folder/9.png \n")
    contents = [
        {"label": 1, "image": {"bytes": images[1].read_bytes(), "path": "one.png"}},
        {"label": 2, "image": None},
    ]
    tables = {
        "paths.parquet": pyarrow.table({"number": [1, 2], "file": list(map(str, images[:2]))}),
        "nested.parquet": pyarrow.Table.from_pylist(contents).slice(0, 1),
        "bytes.parquet": pyarrow.table({"data": [images[2].read_bytes()]}),
    }
    for name, table in tables.items():
        parquet.write_table(table, tmp_path / name)
    sources = [folder, listed, *(tmp_path / name for name in tables), images[2]]
    found = list(images_in(sources))
    assert list(map(str, found)) == [
        *in_folder, str(images[0]), str(folder / "9.png"), str(images[0]), str(images[1]), "one.png",
        f"{tmp_path / 'bytes.parquet'}:0", str(images[2]),
    ]  # fmt: skip
    assert found[7] == ImageBytes(path="one.png", data=images[1].read_bytes())
    assert count_images(sources) == len(found)


@pytest.mark.parametrize("has_dictionary", [True, False])
@pytest.mark.parametrize(("image_bytes", "rows"), [(10, 64), (1 << 22, 15), (1 << 26, 1), (1 << 27, 1)])
def test_rows_of_large_images_are_held_one_by_one(
    tmp_path: Path, image_bytes: int, rows: int, has_dictionary: bool
) -> None:
    """Zeros take nothing in the file, and less than nothing where all rows are one entry of a dictionary."""
    path, table = tmp_path / "large.parquet", pyarrow.table({"image": [bytes(image_bytes)] * 2})
    parquet.write_table(table, path, compression="zstd", use_dictionary=has_dictionary, row_group_size=1)
    assert _rows_of_images(parquet.read_metadata(path)) in (rows, rows + 1)
    found = list(images_in([path]))
    assert [len(image.data) for image in found if isinstance(image, ImageBytes)] == [image_bytes] * 2


def test_a_column_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its rows may be in one page, which is unpacked whole: 48 pictures of nothing would take gigabytes."""
    path, row = tmp_path / "bomb.parquet", bytes(1 << 16)
    monkeypatch.setattr("clprune.distributed.sources._LEAST_BOUNDED_BYTES", 1 << 20)
    parquet.write_table(pyarrow.table({"image": [row] * 17}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(
        DataError, match=r"column image: \d+ bytes unpack to 11\d{5}: expected at most 64 times as many"
    ):
        next(iter(images_in([path])))
    parquet.write_table(pyarrow.table({"image": [row] * 15}), path, compression="zstd", use_dictionary=False)
    assert next(iter(images_in([path])))


def test_sources_that_cannot_be_read(tmp_path: Path, broken: Path) -> None:
    damaged, numbers = tmp_path / "damaged.parquet", tmp_path / "numbers.parquet"
    damaged.write_text("PAR1")
    parquet.write_table(pyarrow.table({"number": [1]}), numbers)
    with pytest.raises(DataError, match=r"damaged.parquet: cannot be read as Parquet"):
        list(images_in([damaged]))
    with pytest.raises(DataError, match=r"columns number \(int64\): expected one of paths"):
        list(images_in([numbers]))
    with pytest.raises(DataError, match="no such file"):
        list(images_in([tmp_path / "absent.txt"]))


def test_a_file_of_answers_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path) as file:
        for image in ("a", "a", "b"):
            file.write({"image": image})
    with path.open("a") as stream:
        stream.write('{"image": "tor')
    with pytest.raises(FileError, match="--resume"):
        AnswerFile(path)
    with AnswerFile(path, resume=True) as file:
        assert file.answered == 3
        left = list(file.left(["a", "c", "a", "a", "b"]))
        assert left == ["c", "a"]
        for image in left:
            file.write({"image": image})
    assert [json.loads(line)["image"] for line in path.read_text().splitlines()] == ["a", "a", "b", "c", "a"]
    path.write_text("[1]\n")
    with pytest.raises(FileError, match=r"answers.jsonl:1: expected an answer"):
        AnswerFile(path, resume=True)
    with pytest.raises(UsageError, match=r"expected FILE.jsonl or FILE.parquet"):
        AnswerFile(tmp_path / "answers.csv")


def test_a_file_that_is_one_endless_line_is_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no space on the disk, and would take all memory."""
    monkeypatch.setattr("clprune.distributed.answers._MOST_LINE_BYTES", 1 << 16)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"image": "a"}\n')
    os.truncate(path, 1 << 40)
    with pytest.raises(FileError, match=r"answers.jsonl:2: expected an answer"):
        AnswerFile(path, resume=True)


def test_the_command_with_workers(run: Run, client: Any, model: Path, images: list[Path], broken: Path) -> None:
    sources, address, out = (*images, broken), client.scheduler.address, model.with_name("answers.parquet")
    wanted = plain(run, model, *sources)
    result = run("infer", model, *sources, "--scheduler", address, "--json")
    assert (result.status, timeless(result.out.splitlines())) == (1, wanted)
    assert "3 of 4 images" in result.err
    assert run("infer", model, *sources, "--scheduler", address, "--out", out).status == 1
    rows = parquet.read_table(out).to_pylist()
    assert [row["image"] for row in rows] == [row["image"] for row in wanted]
    assert [row["predictions"] for row in rows[:3]] == [row["predictions"] for row in wanted[:3]]
    assert rows[3]["error"] == wanted[3]["error"]
    assert run("infer", model, images[0], "--scheduler", address, "--out", out).status == 1


def test_objects_are_those_of_a_detector(run: Run, client: Any, images: list[Path], broken: Path) -> None:
    cfg = write_detector(broken.with_name("boxes.cfg"))
    sources = (*images, broken, "--threshold", "0.2", "--boxes")
    plain, bulk = (run("detect", cfg, *sources, *more) for more in ((), ("--scheduler", client.scheduler.address)))
    assert (bulk.status, bulk.out, bulk.error) == (plain.status, plain.out, plain.error)
    (found,) = distributed.detect_images(client, cfg, [ImageBytes(path="in memory", data=images[0].read_bytes())])
    assert (found.image, found.width, found.picture) == ("in memory", 31, None)
    with Detector(cfg) as detector:
        assert list(found.detections) == detector(images[0])


def test_wrong_usage(run: Run, model: Path, images: list[Path]) -> None:
    for arguments, text in (
        (("--resume",), "--resume are for --workers or --scheduler"),
        (("--workers", "1", "--resume"), "--resume without --out"),
        (("--workers", "1", "--scheduler", "x"), "both --scheduler and --workers"),
    ):
        result = run("infer", model, images[0], *arguments)
        assert (result.status, text in result.error) == (2, True)
    result = run("infer", model, images[0], "--scheduler", "nonsense://here")
    assert (result.status, "`dask scheduler` prints it" in result.error) == (1, True)
    table = model.with_name("paths.parquet")
    parquet.write_table(pyarrow.table({"file": [str(images[0])]}), table)
    result = run("infer", model, table, "--workers", "1", "--out", table)
    assert (result.status, "is one of the sources" in result.error) == (2, True)


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_an_address_of_another_service(
    run: Run, model: Path, images: list[Path], words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the scheduler's own dashboard. A try without an answer leaves no file in the next one's way."""
    monkeypatch.setattr("clprune.distributed.cluster.CONNECT_SECONDS", 1)
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.sendall(words)

        threading.Thread(target=answer, daemon=True).start()
        address, out = f"tcp://127.0.0.1:{server.getsockname()[1]}", model.with_name("answers.jsonl")
        result = run("infer", model, images[0], "--scheduler", address, "--out", out)
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    assert (result.status, "another service does" in result.error) == (1, True)
    assert "answers are kept" not in result.err
    assert not out.exists()
