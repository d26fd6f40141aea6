"""Where files of the user live: each folder can be moved by a variable."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the folder of disposable files (built kernels), moved by CLPRUNE_CACHE_DIR. Not created here."""
    return Path(os.environ.get("CLPRUNE_CACHE_DIR") or platformdirs.user_cache_dir("clprune", appauthor=False))


def data_folder() -> Path:
    """Return the folder of kept files (the tuning database), moved by CLPRUNE_DATA_DIR. Not created here."""
    return Path(os.environ.get("CLPRUNE_DATA_DIR") or platformdirs.user_data_dir("clprune", appauthor=False))
