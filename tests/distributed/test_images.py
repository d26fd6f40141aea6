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
from clprune.container.model import Model
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.dataset import DataWarning
from clprune.distributed.answers import AnswerFile
from clprune.distributed.sources import _rows_of_images, count_images, images_in
from clprune.errors import DataError, FileError
from clprune.opencl import Session
from clprune.picture import ImageBytes
from tests.cli.conftest import Run
from tests.detection.models import write_detector

pytestmark = pytest.mark.usefixtures("device_context")

#: What answers are of.
BY = "model.cfg 34 56"


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
        "nested.parquet": pyarrow.Table.from_pylist(contents),
        "bytes.parquet": pyarrow.table({"data": [images[2].read_bytes()]}),
    }
    for name, table in tables.items():
        parquet.write_table(table, tmp_path / name)
    sources = [folder, listed, *(tmp_path / name for name in tables), images[2]]
    found = list(images_in(sources))
    assert list(map(str, found)) == [
        *in_folder, str(images[0]), str(folder / "9.png"), str(images[0]), str(images[1]), "one.png",
        f"{tmp_path / 'nested.parquet'}:1", f"{tmp_path / 'bytes.parquet'}:0", str(images[2]),
    ]  # fmt: skip
    assert found[7] == ImageBytes(path="one.png", data=images[1].read_bytes())
    assert found[8] == ImageBytes(path=f"{tmp_path / 'nested.parquet'}:1", data=b"")
    assert count_images(sources) == len(found)


PATHS = pyarrow.array(["a.png", "ä.png"])


@pytest.mark.parametrize(
    "column", [PATHS, PATHS.dictionary_encode(), PATHS.cast(pyarrow.large_string()), PATHS.cast(pyarrow.string_view())]
)
@pytest.mark.parametrize("name", ["file", "image.file", ""])
def test_columns_of_every_kind(tmp_path: Path, column: Any, name: str) -> None:
    """A dot in a column's name leads into no struct; pandas' categories are dictionaries, polars writes views."""
    path = tmp_path / "paths.parquet"
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array([1, 2]), column], names=["label", name]), path)
    assert list(images_in([path])) == ["a.png", "ä.png"]


@pytest.mark.parametrize("is_dictionary", [True, False])
def test_paths_that_are_no_text(tmp_path: Path, is_dictionary: bool) -> None:
    path, column = tmp_path / "paths.parquet", pyarrow.array([b"\xff.png", b"b.png"]).view(pyarrow.string())
    column = column.dictionary_encode() if is_dictionary else column
    parquet.write_table(pyarrow.table({"file": column}), path)
    assert list(map(os.fsencode, images_in([path]))) == [b"\xff.png", b"b.png"]


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
    parquet.write_table(pyarrow.Table.from_arrays([PATHS, PATHS], names=["file", "file"]), numbers)
    with pytest.raises(DataError, match=r"2 columns 'file': expected one"):
        list(images_in([numbers]))
    with pytest.raises(DataError, match="no such file"):
        list(images_in([tmp_path / "absent.txt"]))


def test_a_file_of_answers_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, by=BY) as file:
        for image in ("a", "a", "b"):
            file.write({"image": image})
    with path.open("a") as stream:
        stream.write('{"image": "tor')
    with pytest.raises(FileError, match="--resume"):
        AnswerFile(path, by=BY)
    with AnswerFile(path, by=BY, resume=True) as file:
        assert file.answered == 3
        left = list(file.left(["a", "c", "a", "a", "b"]))
        assert left == ["c", "a"]
        for image in left:
            file.write({"image": image})
    assert [json.loads(line)["image"] for line in path.read_text().splitlines()] == ["a", "a", "b", "c", "a"]
    assert {json.loads(line)["by"] for line in path.read_text().splitlines()} == {BY}
    path.write_text("[1]\n")
    with pytest.raises(FileError, match=r"answers.jsonl:1: expected an answer"):
        AnswerFile(path, by=BY, resume=True)
    with pytest.raises(UsageError, match=r"expected FILE.jsonl or FILE.parquet"):
        AnswerFile(tmp_path / "answers.csv", by=BY)


def test_a_model_that_was_renamed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"image": "a", "by": BY.replace("model.cfg", "before.cfg")}) + "\n")
    with AnswerFile(path, by=BY, resume=True) as file:
        file.write({"image": "b"})
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("by", "text"),
    [
        (
            "other.cfg 12 56",
            r"an answer of another model \(other.cfg 12; this one is model.cfg 34\): go on with that model",
        ),
        (
            "model.cfg 34 78",
            "an answer of this model with other options than now: give the same, or name another --out",
        ),
        (None, "it does not say which model answered: remove the file, or name another --out"),
        (7, "it does not say which model answered"),
        ("a b c d", "it does not say which model answered"),
    ],
)
def test_a_file_of_other_answers_is_not_gone_on_with(tmp_path: Path, by: object, text: str) -> None:
    path = tmp_path / "answers.jsonl"
    lines = json.dumps({"image": "a", "by": BY}) + "\n" + json.dumps({"image": "b", "by": by}) + "\n"
    path.write_text(lines)
    with pytest.raises(FileError, match=rf"^{path}:2: {text}"):
        AnswerFile(path, by=BY, resume=True)
    assert path.read_text() == lines


def test_what_changes_answers_is_told_apart(run: Run, model: Path, images: list[Path], client: Any) -> None:
    """Another model of the same names, other weights, names or options are refused; what changes no answer is not."""
    out, other = model.with_name("answers.jsonl"), model.with_name("other.cfg")
    options = ("--scheduler", client.scheduler.address, "--out", out)
    assert run("infer", model, images[0], *options).status == 0
    assert run("infer", model, *images[:2], *options, "--resume", "--unordered", "--batch", 2).status == 0
    content = out.read_bytes()
    network = load_network(model)
    Model(network=network, weights=random_weights(network, seed=9)).save(other)
    changes: list[tuple[object, ...]] = [
        (other,), (model, other.with_suffix(".weights")), (model, "--top", 2), (model, "--resize", "stretch"),
        (model, "--until", 1), (model, "--algorithms", "direct"),
    ]  # fmt: skip
    names = model.with_name("classes.names")
    names.write_text("".join(f"class {number}\n" for number in range(10)))
    for rest in (*changes, (model, "--names", names)):
        result = run("infer", *rest, *images, *options, "--resume")
        assert (result.status, result.error.startswith(f"{out}:1: an answer of ")) == (1, True), rest
    assert out.read_bytes() == content
    assert run("infer", model, *images, *options, "--resume").status == 0
    assert [json.loads(line)["image"] for line in out.read_bytes().splitlines()] == [str(path) for path in images]


def test_a_file_of_answers_has_one_writer(tmp_path: Path) -> None:
    """Another one would answer the same images, and cut off what the first is just writing."""
    pytest.importorskip("fcntl", reason="the system has no such locks")
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, by=BY) as file:
        file.write({"image": "a"})
        with pytest.raises(FileError, match=r"answers.jsonl: another process adds answers to it: wait for its end$"):
            AnswerFile(path, by=BY, resume=True)
        file.write({"image": "b"})
    with AnswerFile(path, by=BY, resume=True) as file:
        assert file.answered == 2


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as lost+found: it is told, and the others' images are answered."""
    scandir, locked = os.scandir, tmp_path / "locked"
    locked.mkdir()
    (tmp_path / "one.png").touch()

    def refuse(path: Any) -> Any:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(DataWarning, match="locked: cannot be read: Permission denied; what is in it is left out"):
        assert list(images_in([tmp_path])) == [str(tmp_path / "one.png")]
    with pytest.raises(DataError, match="locked: cannot be read: Permission denied"):
        list(images_in([locked]))


def test_a_file_that_is_one_endless_line_is_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no space on the disk, and would take all memory."""
    monkeypatch.setattr("clprune.distributed.answers._MOST_LINE_BYTES", 1 << 16)
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"image": "a", "by": "{BY}"}}\n')
    os.truncate(path, 1 << 40)
    with pytest.raises(FileError, match=r"answers.jsonl:2: expected an answer"):
        AnswerFile(path, by=BY, resume=True)


@pytest.mark.parametrize("value", ["1", "true", '{"a": 1}', str(1 << 70), '"\\ud800"', "[1]"])
def test_answers_that_make_no_table_are_refused_before_the_work(tmp_path: Path, value: str) -> None:
    lines, by = tmp_path / "answers.parquet.unfinished.jsonl", f'"by": "{BY}"'
    text = f'{{"image": "a", {by}, "x": {value}}}\n{{"image": "b", {by}, "x": {{"a": "s"}}}}\n'
    lines.write_text(text)
    with pytest.raises(FileError, match=r"unfinished.jsonl: its lines make no table \(.*\): expected answers of this"):
        AnswerFile(tmp_path / "answers.parquet", by=BY, resume=True)
    assert lines.read_text() == text


@pytest.fixture
def beside_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For names of images that are relative, and stay so in errors."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_images")
def test_the_command_with_workers(run: Run, client: Any, model: Path, images: list[Path], broken: Path) -> None:
    sources, address, out = (*images, broken.name), client.scheduler.address, model.with_name("answers.parquet")
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


@pytest.mark.usefixtures("beside_images")
def test_objects_are_those_of_a_detector(run: Run, client: Any, images: list[Path], broken: Path) -> None:
    cfg = write_detector(broken.with_name("boxes.cfg"))
    sources = (*images, broken.name, "--threshold", "0.2", "--boxes")
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
    result = run("infer", model, images[0], "--workers", 10**12)
    assert (result.status, "worker processes take at least 67108864000000000000 bytes, of which" in result.error) == (
        2,
        True,
    )
    result = run("infer", model, images[0], "--scheduler", "nonsense://here")
    assert (result.status, "`dask scheduler` prints it" in result.error) == (1, True)
    table = model.with_name("paths.parquet")
    parquet.write_table(pyarrow.table({"file": [str(images[0])]}), table)
    result = run("infer", model, table, "--workers", "1", "--out", table)
    assert (result.status, "would replace" in result.error) == (2, True)


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
