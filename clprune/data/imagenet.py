"""`imagenet:PATH`: folders `PATH/train/<wnid>/*` and `PATH/val/<wnid>/*`, classes in the order of their names."""

from __future__ import annotations

from functools import partial

from clprune.data.folder import load_folder
from clprune.data.source import DataSource

DATA_SET = DataSource(load=partial(load_folder, name="imagenet", needs_splits=True), needs_path=True)
