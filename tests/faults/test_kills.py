"""Commands that are killed at random moments lose nothing, leave nothing, and go on when they are run again.

FAULTS_KILLS is how often each of them is killed (20).
"""

from __future__ import annotations

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
from clprune.tiles.store import open_store
from tests.faults.conftest import Place

KILLS = int(os.environ.get("FAULTS_KILLS", "20"))

TRAINING = ("--data", "synthetic", "--epochs", 1, "--count", 64, "--batch", 32)

Arguments = Callable[[Place, int], tuple[object, ...]]

#: Command -> arguments; each run has another seed, so that files of two runs are not of one kind.
COMMANDS: dict[str, Arguments] = {
    "tune": lambda place, seed: (place.model, "--budget", 3, "--seed", seed, "--force"),
    "train": lambda place, seed: (place.model, *TRAINING, "--seed", seed, "--out", place.out),
    "prune": lambda place, seed: (
        place.model, place.model.with_suffix(".weights"), "--sparsity", 0.5, *TRAINING, "--seed", seed,
        "--out", place.out,
    ),
    "quantize": lambda place, seed: (place.model, "--random-weights", "--seed", seed, "--out", place.out),
    "db": lambda place, seed: ("import", place.folder / "results.json"),
    "export": lambda place, seed: (place.model, "--seed", seed, "--onnx", place.out.with_suffix(".onnx")),
    "convert": lambda place, seed: (place.folder / "model.onnx", "--out", place.out),
}  # fmt: skip


def check(place: Place) -> None:
    """The database and the pair are whole, and no file is left that has no name of its own."""
    if place.database.exists():
        with closing(sqlite3.connect(place.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with warnings.catch_warnings(), open_store(place.database) as store:
            warnings.simplefilter("error")
            assert len(store.all_best()) <= len(list(store.all_measurements()))
    names = sorted(path.name for path in place.out.parent.iterdir())
    assert set(names) <= {"made.cfg", "made.weights", "made.safetensors", "made.names", "made.onnx"}
    if "made.cfg" in names:
        load_model(place.out.with_suffix(".cfg"))
    if "made.onnx" in names:
        from clprune.exchange.read import read_onnx

        read_onnx(place.out.with_suffix(".onnx"))


#: What commands cannot do without.
NEEDED = {"train": "torch", "prune": "torch", "export": "onnxruntime", "convert": "onnxruntime"}


def prepare(place: Place, command: str) -> None:
    """What the command reads."""
    if command in NEEDED:
        pytest.importorskip(NEEDED[command])
    if command == "convert":
        assert place.run("export", place.model, "--onnx", place.folder / "model.onnx")[0] == 0
    if command == "db":
        assert place.run("tune", place.model, "--budget", 1)[0] == 0
        assert place.run("db", "export", place.folder / "results.json")[0] == 0
        assert place.run("db", "forget", "--all")[0] == 0


@pytest.mark.parametrize("start", ["nothing there", "existing outputs", "existing outputs again"])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random_moments(place: Place, command: str, start: str) -> None:
    arguments, moments = COMMANDS[command], random.Random(f"{command} {start}")
    prepare(place, command)
    assert place.run(command, *arguments(place, 0))[0] == 0
    began = time.monotonic()
    first = place.fork(command, *arguments(place, 0))
    first.join()
    assert first.exitcode == 0
    seconds = time.monotonic() - began
    if start == "nothing there":
        for path in (*place.out.parent.iterdir(), *place.database.parent.iterdir()):
            path.unlink()
    for kill in range(KILLS):
        # the second half near the end, where files are written
        earliest = 0.0 if kill < KILLS / 2 else 0.7 * seconds
        place.kill(command, *arguments(place, kill + 1), after_s=moments.uniform(earliest, seconds))
        check(place)
    status, err = place.run(command, *arguments(place, KILLS + 1))
    assert status == 0, err
    check(place)


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
