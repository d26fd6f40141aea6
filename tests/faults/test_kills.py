"""Commands that are killed at random moments lose nothing, leave nothing, and go on when they are run again.

FAULTS_KILLS is how often each of them is killed (20).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clprune.container.model import load_model
from clprune.resources import models_folder
from clprune.tiles.store import open_store
from tests.detection.models import write_detector
from tests.faults.conftest import Place

KILLS = int(os.environ.get("FAULTS_KILLS", "20"))

TRAINING = ("--data", "synthetic", "--epochs", 1, "--count", 64, "--batch", 32)

#: Images that each run of a command with workers has to answer beside those that were before.
IMAGES = 50

Arguments = Callable[[Place, int], tuple[object, ...]]

#: Command -> arguments; each run has another seed, so that files of two runs are not of one kind, but for what goes on
#: with what it measured.
COMMANDS: dict[str, Arguments] = {
    "tune": lambda place, seed: (place.model, "--budget", 3, "--seed", seed, "--force"),
    "train": lambda place, seed: (place.model, *TRAINING, "--seed", seed, "--out", place.out),
    "prune": lambda place, seed: (
        place.model, place.model.with_suffix(".weights"), "--sparsity", 0.5, *TRAINING, "--seed", seed,
        "--out", place.out,
    ),
    "quantize": lambda place, seed: (place.model, "--random-weights", "--seed", seed, "--out", place.out),
    "fit": lambda place, seed: (
        place.model, "--data", "synthetic", "--count", 64, "--methods", "workgroup,filter", "--tune-s", 0, "--tries", 2,
        "--epochs", 1, "--most-loss", 100, "--out", place.out,
    ),
    "infer": lambda place, seed: (
        place.model, images_of(place, seed), "--workers", 1, "--out", place.answers, "--resume",
    ),
    "detect": lambda place, seed: (
        place.detector, images_of(place, seed), "--workers", 1, "--out", place.answers, "--resume", "--unordered",
    ),
    "db import": lambda place, seed: (place.folder / "results.json",),
    "db merge": lambda place, seed: (place.folder / "others.sqlite", place.folder / "results.json"),
    "export": lambda place, seed: (place.model, "--seed", seed, "--onnx", place.out.with_suffix(".onnx")),
    "convert": lambda place, seed: (place.folder / "model.onnx", "--out", place.out),
}  # fmt: skip


def images_of(place: Place, seed: int) -> Path:
    """A list of images, the longer the higher `seed`."""
    samples = sorted((models_folder() / "samples").glob("digit-*.png"))
    names = itertools.islice(itertools.cycle(map(str, samples)), IMAGES * (seed + 1))
    path = place.folder / "given" / f"{seed}.txt"
    path.write_text("\n".join(names))
    return path


def check(place: Place) -> None:
    """The database, the pair and answers are whole, and no file is left that has no name of its own."""
    if place.database.exists():
        with closing(sqlite3.connect(place.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with warnings.catch_warnings(), open_store(place.database) as store:
            warnings.simplefilter("error")
            assert len(store.all_best()) <= len(list(store.all_measurements()))
    names = sorted(path.name for path in place.out.parent.iterdir())
    assert set(names) <= {f"made.{suffix}" for suffix in SUFFIXES}
    if place.answers.exists():
        assert all(json.loads(line)["image"] for line in place.answers.read_bytes().split(b"\n")[:-1])
    if "made.cfg" in names:
        load_model(place.out.with_suffix(".cfg"))
    if "made.onnx" in names:
        from clprune.exchange.read import read_onnx

        read_onnx(place.out.with_suffix(".onnx"))


#: What commands cannot do without.
NEEDED = {
    **dict.fromkeys(("train", "prune", "fit"), "torch"), **dict.fromkeys(("export", "convert"), "onnxruntime"),
    **dict.fromkeys(("infer", "detect"), "distributed"),
}  # fmt: skip

#: Of the files that commands make.
SUFFIXES = (
    *("cfg", "weights", "safetensors", "names", "onnx", "jsonl"),
    *("fit.json", "fit.checkpoint"),  # by which a fit goes on
)


def prepare(place: Place, command: str) -> None:
    """What the command reads."""
    if command in NEEDED:
        pytest.importorskip(NEEDED[command])
    if command == "convert":
        assert place.run("export", place.model, "--onnx", place.folder / "model.onnx")[0] == 0
    if command == "detect":
        write_detector(place.detector)
    if command.startswith("db "):
        assert place.run("tune", place.model, "--budget", 1)[0] == 0
        assert place.run("db", "export", place.folder / "results.json")[0] == 0
        with (
            closing(sqlite3.connect(place.database)) as own,
            closing(sqlite3.connect(place.folder / "others.sqlite")) as copy,
        ):
            own.backup(copy)
        assert place.run("db", "forget", "--all")[0] == 0


@pytest.mark.parametrize("start", ["nothing there", "existing outputs", "existing outputs again"])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random_moments(place: Place, command: str, start: str) -> None:
    arguments, moments, words = COMMANDS[command], random.Random(f"{command} {start}"), command.split()
    prepare(place, command)
    status, err = place.run(*words, *arguments(place, 0))
    assert status == 0, err
    if start == "nothing there":
        place.clear()
    began = time.monotonic()
    first = place.fork(*words, *arguments(place, 1))
    first.join()
    assert first.exitcode == 0
    seconds = time.monotonic() - began
    for kill in range(KILLS):
        if start == "nothing there" and kill % 2 == 0:  # else what a killed run left
            place.clear()
        # the second half near the end, where files are written
        earliest = 0.0 if kill < KILLS / 2 else 0.7 * seconds
        place.kill(*words, *arguments(place, kill + 2), after_s=moments.uniform(earliest, seconds))
        check(place)
    status, err = place.run(*words, *arguments(place, KILLS + 2))
    assert status == 0, err
    check(place)
    if place.answers.exists():
        found = [json.loads(line)["image"] for line in place.answers.read_bytes().splitlines()]
        assert sorted(found) == sorted(images_of(place, KILLS + 2).read_text().splitlines())


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["tune", "quantize"])
def test_asked_to_end(place: Place, command: str, by: signal.Signals) -> None:
    """From when the command line is there: before that, Python itself says what ended it."""
    for after_s in (2.0, 3.0, 4.0):
        process = place.start(command, *COMMANDS[command](place, 1))
        time.sleep(after_s)
        process.send_signal(by)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        place.check_nothing_left(process.pid)
        check(place)


def test_workers_killed_again_and_again(place: Place) -> None:
    """They are replaced, and no tile is kept as invalid on their account."""
    process = place.start("tune", place.model, "--budget", 8, "--force")
    for _ in range(3):
        time.sleep(2.0)
        for child in children_of(process.pid):
            os.kill(child, signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, "error" in err) == (0, False)
    check(place)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
