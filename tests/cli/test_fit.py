"""`clprune fit`: what it prints, its page, its status where the target is missed, and targets that are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from clprune.container.model import load_model
from tests.cli.conftest import Run

pytest.importorskip("torch", reason="training needs PyTorch")

SHORT = ("--data", "fractals", "--count", "32", "--methods", "workgroup,filter", "--tune-s", "0", "--tries", "2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sweep", "1,2", "--speed-up", "2"), "both --sweep and another target"),
        (("--sweep", "1,,2"), "expected milliseconds with commas between"),
        (("--speed-up", "2", "--bits", "8,x"), "expected 16, 8 or 4"),
        (("--speed-up", "nan"), "expected a number"), (("--speed-up", "1"), "expected more than 1"),
        ((), "expected"),
    ],
    ids=str,
)  # fmt: skip
def test_targets_that_are_none(run: Run, model: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("fit", model, "--data", "folder:absent", *arguments, "--out", tmp_path / "made")
    assert (result.status, result.out) == (2, "")
    assert words in result.error
    assert not list(tmp_path.glob("made*"))


@pytest.mark.slow
@pytest.mark.usefixtures("device_context", "few_shares", "few_rounds")
def test_as_text_as_json_and_as_a_page(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, page = tmp_path / "made", tmp_path / "page.html"
    arguments = ("fit", model, *SHORT, "--out", out)
    result = run(*arguments, "--most-loss", "100", "--report", page)
    assert result.status == 0, result.err
    head, *rows = result.out.splitlines()
    assert head.split() == ["layer", "kind", "chosen", "channels", "ms", "loss", "runner-up"]
    assert [row.split()[0] for row in rows[:3]] == ["0", "2", "3"]  # the layers with weights
    assert f"written: {out}.cfg, {out}.weights" in rows[-1] and "promised" in rows[-2]
    assert "<svg" in page.read_text() or "<table" in page.read_text()
    load_model(f"{out}.cfg")
    one = run(*arguments, "--most-loss", "100", "--json")  # by the same table
    facts = json.loads(one.out)
    assert (one.status, facts["written"] if "written" in facts else facts["cfg"]) == (0, f"{out}.cfg")

    from clprune.workflow import fit

    fitted = fit.fit_all

    def missed(*given: Any, **named: Any) -> tuple[fit.FitResult, ...]:
        """As on a machine where something else runs."""
        return tuple(dataclasses.replace(one, is_met=False, budget_ms=1e-3) for one in fitted(*given, **named))

    monkeypatch.setattr(fit, "fit_all", missed)
    several = run(*arguments, "--sweep", "1000,1000", "--json")
    assert several.status == 1
    assert len(json.loads(several.out)["models"]) == 2
    assert several.err.count("more than 3 % over 0.001 ms") == 2
    assert sorted(path.name for path in tmp_path.glob("made-*.cfg")) == ["made-1.cfg", "made-2.cfg"]
