"""A process that is killed for good in the middle of a training leaves a checkpoint from which another one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.training.networks import MICRO

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.training.together", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, timeout=300, cwd=ROOT, env=environment).returncode


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no such signal")
def test_a_process_killed_for_good_is_continued_bit_for_bit(tmp_path: Path) -> None:
    cfg = tmp_path / "network.cfg"
    cfg.write_text(MICRO)
    assert run(tmp_path / "whole", cfg) == 0
    assert run(tmp_path / "parts", cfg, 2) == -signal.SIGKILL
    assert not (tmp_path / "parts.npz").exists()
    assert run(tmp_path / "parts", cfg) == 0
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "parts.npz") as parts:
        assert (int(whole["reports"]), int(parts["reports"])) == (3, 2)
        for name in set(whole.files) - {"reports"}:
            assert_array_equal(parts[name], whole[name], err_msg=name)
