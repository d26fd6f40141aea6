"""A whole process: what it writes, or how it failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from clprune.errors import WorkerError


def run_process(
    command: Sequence[str], *, name: str, limit_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Run `command` to its end; `environment` is added to this process's. Returns its standard output.

    `name` is what errors call it. Raises WorkerError when it cannot be started, fails or takes longer than `limit_s`.
    """
    try:
        result = subprocess.run(
            list(command),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerError(f"{name}: {error}") from error
    if result.returncode != 0:
        said = [line for line in result.stderr.splitlines() if line.strip()]
        raise WorkerError(f"{name} ended with status {result.returncode}" + (f": {said[-1]}" if said else ""))
    return result.stdout
