"""Spaces of the benchmark hub are unpacked whole, and the report says who is ahead on them."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clprune.errors import DataError
from tools.search import hub as hub_module
from tools.search.hub import Kept, lead, mean_score, ranked, report
from tools.search.hub_score import Scale
from tools.search.hub_space import DEVICES, KERNELS, OWN, HubSpace, Try, unpack

ENTRY = {"block": 1, "compile_time": 5.0, "verification_time": 0, "benchmark_time": 2.0, "framework_time": 1.0}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A hub whose spaces have two configurations each, one of which fails."""
    valid = {**ENTRY, "strategy_time": 0, "time": 0.5, "times": [0.5, 0.5], "GB/s": 3}
    cache = {
        "tune_params_keys": ["block"],
        "tune_params": {"block": [1, 2]},
        "cache": {"1": valid, "2": {**ENTRY, "strategy_time": 0, "block": 2, "time": "RuntimeFailedConfig"}},
    }
    for name in KERNELS.values():
        folder = tmp_path / "cachefiles" / name
        folder.mkdir(parents=True)
        for device in DEVICES:
            (folder / f"{device}.json.gz").write_bytes(gzip.compress(json.dumps(cache).encode()))
            (folder / f"{device}_T4.json.gz").write_bytes(gzip.compress(b'{"results": []}'))
        specification = {"KernelFile": f"{name}.cu", "Arguments": [{"Name": "x", "Size": "2**20"}]}
        path = tmp_path / "kernels" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"KernelSpecification": specification}))
    return tmp_path


def test_twelve_spaces_are_unpacked(hub: Path, tmp_path: Path) -> None:
    spaces = unpack(hub, tmp_path / "work")
    assert [space.name for space in spaces][::5] == ["convolution A100", "convolution W7800", "dedispersion W6600"]
    assert len(spaces) == 12
    cache = json.loads(spaces[0].cache_path.read_text())["cache"]
    assert cache["1"]["times"] == [1.0]
    assert (cache["2"]["time"], cache["2"]["times"]) == ("RuntimeFailedConfig", [0])
    specification = json.loads(spaces[0].input_path.read_text())["KernelSpecification"]
    assert specification["Arguments"][0]["Size"] == 1
    assert specification["KernelFile"] == str(hub / "kernels" / "convolution_milo.cu")


def test_a_file_that_is_only_a_pointer_is_refused(hub: Path, tmp_path: Path) -> None:
    (hub / "cachefiles" / "convolution_milo" / "A4000.json.gz").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"A4000.json.gz: expected a recorded space"):
        unpack(hub, tmp_path / "work")


def outcome(strategy: str, space: str, score: float) -> dict[str, Any]:
    return {"strategy": strategy, "space": space, "repeats": 2, "score": score, "evaluations": 10.0, "slowdown": 1.01}


def test_the_report_ranks_what_ran_everywhere() -> None:
    facts = {"configurations": 9, "failing": 1, "median_over_best": 2.0, "random_evaluations": 5, "budget_seconds": 7.0}
    spaces = ("convolution A100", "convolution A4000")
    document = {
        "date": "2026-01-01", "machine": {"python": "3.11"}, "versions": {"kernel_tuner": "1.5"},
        "repeats": 2, "seed": 0, "spaces": dict.fromkeys(spaces, facts),
        "outcomes": [
            outcome("mls", spaces[0], 0.4), outcome("mls", spaces[1], 0.6),
            outcome(OWN, spaces[0], 0.7), outcome(OWN, spaces[1], 0.5),
            outcome("pso", spaces[0], 0.9),
        ],
    }  # fmt: skip
    assert list(ranked(document)) == [OWN, "mls"]
    assert mean_score(ranked(document)["mls"], spaces) == pytest.approx(0.5)
    assert lead(document) == pytest.approx(0.1)
    text = report(document)
    assert "by 0.100" in text
    assert "| convolution A4000 * |" in text
    assert "| mls | 2 | 0.500 |" in text


def test_a_search_that_is_kept_is_not_simulated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def simulated(space: HubSpace, strategy: str, *, seed: int, seconds: float) -> list[Try]:
        seeds.append(seed)
        return [((1.0,) * 5, None)]

    monkeypatch.setattr(hub_module, "simulate", simulated)
    space = HubSpace(kernel="convolution", device="A100", folder=tmp_path)
    scale = cast(Scale, SimpleNamespace(space=space, budget_seconds=7.0))
    kept = Kept(scale=scale, strategy="mls", seed=10, work=tmp_path)
    kept.add(2, end_s=math.inf)
    kept.add(3, end_s=math.inf)
    kept.add(9, end_s=-math.inf)
    assert seeds == [10, 11, 12]
    assert len(kept.lines()) == 3


def test_a_search_whose_line_was_torn_is_simulated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "simulate", lambda *_, seed, seconds: [((float(seed),) * 5, None)])
    space = HubSpace(kernel="convolution", device="A100", folder=tmp_path)
    kept = Kept(
        scale=cast(Scale, SimpleNamespace(space=space, budget_seconds=7.0)), strategy="mls", seed=0, work=tmp_path
    )
    kept.add(2, end_s=math.inf)
    (path,) = tmp_path.glob("mls-*")
    path.write_text(path.read_text()[:-20])
    assert len(kept.lines()) == 1
    kept.add(3, end_s=math.inf)
    assert [json.loads(line)[0][0][0] for line in kept.lines()] == [0.0, 1.0, 2.0]
