"""Readers that have gone, as in `clprune ... | head -1`, and disks without space."""

from __future__ import annotations

import os
import subprocess

import pytest

from clprune.cli import _commands
from clprune.container.model import load_model
from clprune.resources import models_folder
from tests.disks import fill_up, small_disk_at
from tests.faults.conftest import Place
from tests.faults.test_kills import COMMANDS, prepare

#: What each command is given where `COMMANDS` does not say.
ARGUMENTS = {
    "bench": ("MODEL", "--rounds", 1), "darknet": ("classifier", "predict", "absent.data", "MODEL"), "db": ("list",),
    "detect": ("absent.cfg", models_folder() / "samples" / "digit-3.png"), "devices": (),
    "eval": ("MODEL", "--data", "synthetic"), "infer": ("MODEL", models_folder() / "samples" / "digit-3.png"),
    "info": (), "verify": ("MODEL",),
}  # fmt: skip


def test_every_command_is_here() -> None:
    assert set(_commands()) <= {name.split()[0] for name in (*ARGUMENTS, *COMMANDS)}


@pytest.mark.parametrize("streams", ["stdout", "both"])
@pytest.mark.parametrize("command", sorted({*ARGUMENTS, *COMMANDS}))
def test_reader_that_has_gone(place: Place, command: str, streams: str) -> None:
    prepare(place, command)
    given = ARGUMENTS[command] if command in ARGUMENTS else COMMANDS[command](place, 1)
    given = tuple(place.model if one == "MODEL" else one for one in given)
    reader, writer = os.pipe()
    os.close(reader)
    err_to = writer if streams == "both" else subprocess.PIPE
    status, err = place.run(*command.split(), *given, stdout=writer, stderr=err_to)
    os.close(writer)
    assert status == 1
    assert "Traceback" not in (err or "") and "Exception" not in (err or "")


def test_full_disk_keeps_the_pair(place: Place) -> None:
    with small_disk_at(place.folder / "disk", size="128k") as disk:
        arguments = ("quantize", place.model, "--random-weights", "--out", disk / "made")
        assert place.run(*arguments, "--seed", 1)[0] == 0
        before = {path.name: path.read_bytes() for path in disk.iterdir()}
        filler = fill_up(disk)
        for room in (0, 4096):  # known at the start; found out when the weights are written
            os.truncate(filler, filler.stat().st_size - room)
            status, err = place.run(*arguments, "--seed", 2)
            assert status == 1
            assert err.count("\n") == 1 and "No space left on device" in err
        filler.unlink()
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == before
        load_model(disk / "made.cfg")
