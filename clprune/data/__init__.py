"""Data sets for training, pruning and evaluation, one file each: `NAME` or `NAME:PATH`; nothing is downloaded.

A file whose `DATA_SET` is a `DataSource` adds one, here or in another package (`clprune.data.source`).
"""

from __future__ import annotations

from clprune.data.load import list_data, load_data
from clprune.data.source import DataSource, Request, Split
from clprune.dataset import DataSet, Images

__all__ = ["DataSet", "DataSource", "Images", "Request", "Split", "list_data", "load_data"]
