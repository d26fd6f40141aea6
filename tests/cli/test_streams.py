"""A process whose standard streams are closed, and one that is interrupted while it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams and signals as POSIX has them")


def run_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_if_nobody_listened(closed: str) -> None:
    result = run_shell(f'"$1" -m clprune info --json {closed}')
    assert (result.returncode, result.stderr) == (0, "")


def test_images_from_a_closed_stdin_are_none(tmp_path: Path) -> None:
    result = run_shell(f'"$1" -m clprune infer {tmp_path}/absent.cfg <&-')
    assert result.returncode == 1
    assert result.stderr == f"clprune: error: {tmp_path}/absent.cfg: no such file\n"


def test_interrupt_that_python_would_lose(tmp_path: Path) -> None:
    """No exception comes out of a finaliser: Python would tell of it and go on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'clprune.cli.info':\n"
        "            Dying()\n"
        "class Dying:\n"
        "    def __del__(self):\n"
        "        raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    result = run_shell('"$1" -m clprune info', PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_interrupt_while_the_command_line_is_imported(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    result = run_shell('"$1" -m clprune --help', PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
