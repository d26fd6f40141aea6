"""Data sets for training, pruning and evaluation, by name or from a path that the user gives; nothing is downloaded."""

from __future__ import annotations

from clprune.data.dataset import DataSet, Images
from clprune.data.load import Split, list_data, load_data

__all__ = ["DataSet", "Images", "Split", "list_data", "load_data"]
