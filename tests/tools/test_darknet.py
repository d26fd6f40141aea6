"""The table of darknet's cfgs: what becomes of each, and how a library's answers are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tools.darknet.__main__ import darknet
from tools.darknet.outputs import errors_of
from tools.darknet.survey import survey

LAYERS = "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n[avgpool]\n"
NET = "[net]\nheight=64\nwidth=64\nchannels=3\n"


def test_survey_shrinks_images_and_says_what_became_of_a_cfg(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(NET + LAYERS)
    found = survey(path, side=16, device=None, seed=0)
    assert (found["state"], found["input"], found["layers"]) == ("right", "3x16x16", 2)
    path.write_text(NET + "[lstm]\noutput=3\n")
    found = survey(path, side=None, device=None, seed=0)
    assert found["state"] == "refused"
    assert found["text"].startswith("a.cfg:5: [lstm]")


def test_survey_keeps_the_images_that_a_crop_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(NET + "[crop]\ncrop_height=32\ncrop_width=32\n" + LAYERS)
    assert survey(path, side=16, device=None, seed=0)["input"] == "3x64x64"


def test_errors_are_relative_to_the_layer() -> None:
    one = np.array([1.0, -4.0], np.float32)
    theirs = {0: one, 1: np.zeros(3, np.float32), 2: one}
    nan = np.array([1.0, np.nan], np.float32)
    ours = {0: one + np.float32(0.5), 1: one, 2: nan}
    assert errors_of(ours, theirs.__getitem__) == {0: 0.125, 1: float("inf"), 2: float("inf")}


@pytest.mark.slow
def test_the_page_has_a_section_for_the_survey_and_one_for_each_library(tmp_path: Path) -> None:
    library = Path("/usr/lib/darknet")
    if not (library / "include" / "darknet.h").exists():
        pytest.skip("the original darknet is not installed")
    cfg, out = tmp_path / "a.cfg", tmp_path / "darknet.json"
    cfg.write_text(NET + LAYERS)
    for arguments in (["survey", str(tmp_path)], ["compare", str(library), str(cfg), "--rounds", "1"]):
        result = CliRunner().invoke(darknet, [*arguments, "--out", str(out)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    sections = json.loads(out.read_text())["sections"]
    assert len(sections) == 2
    (row,) = sections[next(title for title in sections if title.startswith("Against"))]["parts"][0]["rows"]
    assert row[2] == "2 of 2"
    assert float(row[4]) < 1e-5
