"""The logic of tools/first_gpu.sh: every step fails once, hangs or leaves something behind, and the rest goes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "first_gpu.sh"
STEPS = ("python", "install", "driver", "conformance", "tune", "verify", "precision", "bench", "export")
OK = "echo fine"

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("timeout") is None, reason="needs bash and GNU timeout"
)


def run(folder: Path, *options: str, **steps: str) -> tuple[int, dict[str, str], str]:
    """Status, what came of each step, and all that was printed; `steps` are the lines that take a step's place."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for name in STEPS:
        path = stubs / name
        path.write_text(f"#!/bin/sh\n{steps.get(name, OK)}\n", encoding="utf-8")
        path.chmod(0o755)
    command = ["bash", str(SCRIPT), "--out", str(folder / "out"), *options]
    environment = {**os.environ, "FIRST_GPU_STUBS": str(stubs)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    summary = folder / "out" / "summary.txt"
    lines = summary.read_text(encoding="utf-8").splitlines()[1:] if summary.exists() else []
    found = dict(re.split(r"\s{2,}", line)[:2] for line in lines)
    return result.returncode, found, result.stdout + result.stderr


def test_all_steps_are_run_in_order(tmp_path: Path) -> None:
    status, results, text = run(tmp_path)
    assert status == 0
    assert list(results.items()) == [(step, "ok") for step in STEPS]
    assert (tmp_path / "out" / "logs" / "bench.log").read_text(encoding="utf-8") == "fine\n"
    assert text.rstrip().endswith("logs/export.log")


@pytest.mark.parametrize("failing", STEPS)
def test_a_step_that_fails_does_not_stop_the_rest(tmp_path: Path, failing: str) -> None:
    status, results, _ = run(tmp_path, **{failing: "echo broken >&2; exit 3"})
    assert status == 1
    assert results == {step: "failed (3)" if step == failing else "ok" for step in STEPS}
    assert (tmp_path / "out" / "logs" / f"{failing}.log").read_text(encoding="utf-8") == "broken\n"


def test_a_step_that_hangs_ends_with_its_time(tmp_path: Path) -> None:
    """And what it had written is there; a process that outlives it holds nothing up."""
    options = ("--only", "conformance,precision", "--scale", "0.03")  # 5 and 3 s
    hanging = "echo begun; setsid sleep 60 & sleep 120"
    status, results, _ = run(tmp_path, *options, conformance=hanging, precision="exit 1")
    assert status == 1
    assert results == {"conformance": "time is up", "precision": "failed (1)"}
    assert (tmp_path / "out" / "logs" / "conformance.log").read_text(encoding="utf-8") == "begun\n"


def test_what_the_driver_step_finds_is_known_to_those_behind_it(tmp_path: Path) -> None:
    found = f"echo 'export CLPRUNE_DEVICE=7:1' >>{tmp_path}/out/driver.env"
    status, results, _ = run(
        tmp_path, "--only", "driver,tune", driver=found, tune='echo "$CLPRUNE_DEVICE $CLPRUNE_DATA_DIR"'
    )
    assert (status, list(results)) == (0, ["driver", "tune"])
    log = (tmp_path / "out" / "logs" / "tune.log").read_text(encoding="utf-8")
    assert log == f"7:1 {tmp_path}/out/data\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fast",), "unknown option --fast: --help says what there is"),
        (("--scale", "much"), "--scale much: expected a number such as 2"),
        (("--only", "dance"), "--only dance: expected some of python install driver"),
        (("--model", "no.cfg"), "--model no.cfg: no such file"),
        (("--device",), "--device without a value"),
    ],
)
def test_bad_options(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    status, results, text = run(tmp_path, *options)
    assert (status, results) == (2, {})
    assert message in text


def test_help() -> None:
    result = subprocess.run(["bash", str(SCRIPT), "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "Each has a time limit" in result.stdout
