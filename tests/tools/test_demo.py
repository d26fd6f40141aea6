"""`tools/demo.py` on two tiny models: what `make demo` prints, and one line where a file is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.rewrite import annotate_cfg
from clprune.darknet.weights import write_weights
from clprune.pruning.network import prune_random
from clprune.pruning.settings import PruneSettings
from clprune.unit import Unit
from tests.cli.conftest import CFG, Result
from tools import demo
from tools.terminal import run_command

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytestmark = pytest.mark.usefixtures("device_context")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder like models/, of tiny networks with random weights."""
    dense_cfg, pruned_cfg = tmp_path / "vgg16-digits.cfg", tmp_path / "vgg16-digits-pruned75.cfg"
    dense_cfg.write_text(CFG)
    network = load_network(dense_cfg)
    weights = random_weights(network, seed=1)
    settings = PruneSettings(method="workgroup", sparsity=0.75, unit_for_layer=lambda layer: Unit(rows=4))
    pruned, options = prune_random(network, weights, settings)
    pruned_cfg.write_text(annotate_cfg(dense_cfg, options))
    write_weights(dense_cfg.with_suffix(".weights"), network, weights)
    write_weights(pruned_cfg.with_suffix(".weights"), network, pruned)
    log = {"dense": {"accuracy": 0.125}, "pruned": {"accuracy": 0.0625}}
    (tmp_path / "vgg16-digits.json").write_text(json.dumps(log))
    (tmp_path / "samples").mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (11, 13, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "samples" / f"digit-{index}.png")
    return tmp_path


@pytest.fixture
def run_demo(
    models: Path,
    quick_candidates: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[], Result]:
    """`python -m tools.demo` in this process, which judges the models by few images."""
    monkeypatch.setattr("clprune.data.digits_on_photos.TEST_COUNT", 64)
    monkeypatch.setattr(sys, "argv", ["demo", "--models", str(models), "--budget", "0.1"])

    def run() -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_command(demo.demo)
        captured = capsys.readouterr()
        return Result(status=int(caught.value.code or 0), out=captured.out, err=captured.err)

    return run


@pytest.mark.slow
def test_demo_tunes_and_compares(models: Path, run_demo: Callable[[], Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(models / "database"))
    first = run_demo()
    assert (first.status, first.err) == (0, "")
    # Three dense layers and the convolution that lost its units; convolutions by both of their kernels: six problems.
    tuned, left = map(int, re.findall(r"tuned (\d) problems .*; (\d) keep", first.out)[0])
    assert (tuned + left, tuned >= 1) == (6, True)
    rows = {line.split("  ")[0]: line.split() for line in first.out.splitlines() if line}
    assert {"digit-0", "digit-1", "accuracy", "weights kept", "speed-up"} <= rows.keys()
    assert rows["accuracy in training"][-2:] == ["12.50%", "6.25%"]
    assert rows["weights kept"][-2] == "100.0%"
    assert all(float(error) < 1e-4 for error in rows["largest error"][-2:])
    again = run_demo().out  # goes on with what was left
    assert re.search(rf"tuned \d problems .*; [0-{left - 1}] keep", again)


def test_missing_files_are_one_line(models: Path) -> None:
    log = models / "vgg16-digits.json"
    log.unlink()
    command = [sys.executable, "-m", "tools.demo", "--models", str(models)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"clprune: error: {log}: expected the log that tools/make_models.py writes")
    assert result.stderr.count("\n") == 1
