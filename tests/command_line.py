"""The command line in a process of its own that finds packages of a folder, as if they were installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 300


def clprune(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `clprune` with arguments; `site` comes first on its sys.path. PyTorch has one thread: more of them wait for
    each other where tests share cores.
    """
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "clprune", *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
