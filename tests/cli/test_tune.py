"""`clprune tune`: the summary, what is kept, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clprune.algorithms import Algorithms
from clprune.cli.shared.text import tile_text
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.rewrite import annotate_cfg
from clprune.geometry import problem_text
from clprune.plan.plan import make_plan
from clprune.tiles.store import Store
from clprune.tuning.tune import offers_to_tune
from clprune.unit import Unit
from clprune.workflow.tune import tuning_input
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device

pytestmark = pytest.mark.usefixtures("device_context", "quick_candidates")


@pytest.fixture(autouse=True)
def own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "database"))


@pytest.mark.slow
def test_every_problem_has_a_tile_and_a_second_run_knows_it(run: Run, model: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    while len(found) < 4:  # as many as there is time for, the most worthy first, and at least one
        result = run("tune", model, "--budget", "2", "--effort", "quick", "--missing", "--json")
        assert result.status == 0
        report = json.loads(result.out)
        assert report["problems"]
        assert not report["interrupted"]
        found += report["problems"]
    assert sorted(problem["kernel"] for problem in found) == ["connected", "conv", "conv", "conv_channels"]
    for problem in found:
        assert problem["workload"] == "dense"
        assert 0 < problem["best_ms"] <= problem["default_ms"]
        assert problem["speed_up"] == pytest.approx(problem["default_ms"] / problem["best_ms"])
        assert problem["evaluations"] >= 1
        assert "vector_width" in problem["tile"]
    layers = json.loads(run("bench", model, "--json", "--rounds", "1").out)["layers"]
    assert [layer["tile_origin"] for layer in layers if layer["label"] == "convolutional"] == ["tuned", "tuned"]
    result = run("tune", model, "--budget", "0.1", "--missing")
    assert result.status == 0
    assert result.out.startswith("nothing to tune: every problem has a tuned tile on ")
    assert str(tmp_path / "database" / "tuning.sqlite") in result.out


@pytest.mark.parametrize("columns", ["60", "140"])
def test_summary(run: Run, model: Path, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = run("tune", model, "--budget", "0.1")
    assert result.status == 0
    assert "connected" in result.out
    assert "k" in result.out
    assert "speed-up" in result.out or " tried" in result.out
    assert re.search(r"[1-4] of 4 problems tuned on ", result.out)
    *table, _ = result.out.splitlines()
    assert max(len(line) for line in table) <= int(columns)
    assert result.err == ""


def test_what_was_removed_comes_from_the_cfg_without_weights(model: Path) -> None:
    options = {2: PruneOptions(method="workgroup", unit=Unit(rows=4), sparsity=0.75)}
    pruned = model.with_name("pruned.cfg")
    pruned.write_text(annotate_cfg(model, options))

    def keys(weights: str | None) -> list[str]:
        network, forms, _ = tuning_input(pruned, weights)
        plan = make_plan(network, imaginary_device(), forms=forms, algorithms=Algorithms(names=("direct",)))
        return [offer.workload.key for offer in offers_to_tune(plan.steps)]

    assert keys(None) == ["dense", "kept0.25 unit4x1", "kept0.25 unit4x1", "dense"]
    assert keys(str(model.with_suffix(".weights"))) == ["dense", "dense", "dense", "dense"]


@pytest.mark.slow
def test_interrupt_keeps_what_was_found(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = Store.add_measurement
    calls: list[object] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(Store, "add_measurement", interrupted)
    result = run("tune", model, "--budget", "60", "--json")
    assert result.status == 130
    assert "the same command goes on from there" in result.err
    report = json.loads(result.out)
    assert report["interrupted"]
    assert sum(problem["evaluations"] for problem in report["problems"]) == 2
    missing = json.loads(run("tune", model, "--budget", "0.01", "--missing", "--json").out)
    found, left = ({(one["kernel"], one["problem"]) for one in part["problems"]} for part in (report, missing))
    assert found
    assert not found & left


@pytest.mark.parametrize("budget", ["0", "-1", "soon"])
def test_budget_must_be_positive(run: Run, model: Path, budget: str) -> None:
    result = run("tune", model, "--budget", budget)
    assert result.status == 2
    assert "Invalid value for '--budget'" in result.error


def test_missing_weights(run: Run, model: Path) -> None:
    absent = model.parent / "absent.weights"
    result = run("tune", model, absent)
    assert (result.status, result.error) == (1, f"{absent}: no such file")


def test_short_texts() -> None:
    assert problem_text("n1 c3 h9 w9 m8 size3 stride1 padding1 groups1") == "c3 h9 w9 m8 size3 padding1"
    assert problem_text("n2 c3 h9 w9 m8 size3 stride2 padding0 groups3") == "c3 h9 w9 m8 size3 stride2 padding0 groups3"
    assert tile_text({"tile_m": 8, "group_m": 1, "tile_k": 0, "mapping": "flat"}) == "tile_m=8 mapping=flat"
