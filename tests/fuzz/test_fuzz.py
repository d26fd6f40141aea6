"""Every kind of file from outside, mutated for a moment; `make fuzz` goes on for longer. And faults are found."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clprune.errors import FileError, UsageError
from tests.fuzz.__main__ import main
from tests.fuzz.mutation import mutated_bytes, mutated_cfg, mutated_container, mutated_json
from tests.fuzz.record import record
from tests.fuzz.session import Bounds, Result, fuzz
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.worker import judge
from tests.imaginary import imaginary_device

#: Inputs of each target, and of those whose inputs take long.
_COUNT, _COUNTS = 300, {"databases": 50, "folders": 50}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_errors_of_one_line(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    bounds = Bounds(count=_COUNTS.get(name, _COUNT), device_every=0)
    result = fuzz(TARGETS[name], seed=1, bounds=bounds, folder=tmp_path, say=said.append)
    assert said == []
    assert result.inputs > 0
    assert result.accepted > 0


@pytest.mark.parametrize("name", TARGETS)
def test_what_code_made_is_accepted(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    target.seeds(tmp_path)
    outcomes = [judge(target, path) for path in sorted(tmp_path.iterdir())]
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []
    assert sum(outcome.is_accepted for outcome in outcomes) >= 1


def _planted(path: Path, session: Any) -> str:
    """A reader that has every fault, one for each first byte."""
    match path.read_bytes()[:1]:
        case b"h":
            time.sleep(600)
        case b"k":
            os.abort()
        case b"m":
            bytearray(3 << 30)
        case b"t":
            raise UsageError("bad\x1b[31m")
        case b"v":
            raise ValueError("not what we raise")
        case b"p":
            logging.getLogger("other").warning("said by a library")
        case b"r":
            raise FileError("not this one", path=path)
    return "read"


def _as_is(random: Random, data: bytes, corpus: Any) -> bytes:
    return data


@pytest.mark.sweep  # of processes of which none is counted: they are killed
@pytest.mark.parametrize(
    ("faults", "limit_s"),
    [
        ({b"h": "hangs: no answer for 1 s"}, 1),
        # What does not hang may take its time. Errors that pass no line of the package are one fault: of each run one.
        ({b"k": "ends the process: exit code -6", b"m": "MemoryError", b"p": "prints: 'said by a library"}, 60),
        ({b"t": "UsageError is no printable line", b"r": ""}, 60),
        ({b"v": "ValueError: not what we raise", b"ok": ""}, 60),
    ],
    ids=["hangs", "ends", "unprintable", "unexpected"],
)
def test_planted_faults_are_found_and_kept(faults: dict[bytes, str], limit_s: float, tmp_path: Path) -> None:
    target = Target(name="planted", suffix=".x", seeds=_no_seeds, handle=_planted, mutate=_as_is)
    corpus = tmp_path / "planted" / "corpus"
    corpus.mkdir(parents=True)
    for content in faults:
        (corpus / f"{content.decode()}.x").write_bytes(content)
    said: list[str] = []
    bounds = Bounds(count=len(faults) + 1, limit_s=limit_s)
    result = fuzz(target, seed=1, bounds=bounds, folder=tmp_path, say=said.append)
    assert result.inputs == len(faults)  # there is no other one
    found = {kept.read_bytes(): (kept, text) for kept, text in zip(result.faults, said, strict=True)}
    assert found.keys() == {content for content, fault in faults.items() if fault}
    for content, (kept, text) in found.items():
        assert faults[content] in text
        assert f"--target planted --repeat {kept}" in text


def _no_seeds(folder: Path) -> None:
    """None but those of the corpus."""


@pytest.mark.sweep  # as above
def test_the_corpus_grows_and_is_read_again(tmp_path: Path) -> None:
    target = TARGETS["lists"]
    bounds = Bounds(count=60, device_every=0)
    first = fuzz(target, seed=3, bounds=bounds, folder=tmp_path, say=print)
    kept = set((tmp_path / "lists" / "corpus").iterdir())
    assert len(kept) == first.corpus - 4 > 0
    second = fuzz(target, seed=4, bounds=bounds, folder=tmp_path, say=print)
    assert second.corpus >= first.corpus


def test_counts_add_up_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "fuzz.json"
    fault = {"faults": (path,), "findings": ("lists: ValueError: such",)}
    result = Result(target="lists", inputs=1200, accepted=7, on_device=1, corpus=9, seconds=90, **fault)
    for seed in (3, 4):
        record([result], seed=seed, device=imaginary_device(), path=path)
    page = path.with_suffix(".md").read_text()
    assert "| lists | 2,400 | 14 | 2 | 3 | 1 |" in page
    assert "Seeds 3 to 4." in page and "**2,400 inputs, 1 faults found**" in page
    assert page.count("ValueError: such") == 1


def test_one_input_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.cfg"
    path.write_text("[net]\nwidth=0\n")
    assert main(["--target", "cfg", "--repeat", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"refused, CfgError: {path}")


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_json, mutated_cfg, mutated_container])
def test_mutations_are_those_of_their_seed(mutate: Callable[..., bytes]) -> None:
    corpus = [b'{"a": [1, 2, {"b": 3}]}', b"[net]\nwidth=3\n[maxpool]\nsize=2\n", b""]

    def draw(seed: int) -> list[bytes]:
        random = Random(seed)
        return [mutate(random, random.choice(corpus), corpus) for _ in range(300)]

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(1))) > 150
