"""`cifar10:PATH`: CIFAR-10's published python batches (Krizhevsky 2009)."""

from __future__ import annotations

from functools import partial

from clprune.data.cifar import load_cifar
from clprune.data.source import DataSource

DATA_SET = DataSource(load=partial(load_cifar, name="cifar10", loader_name="CIFAR10"), needs_path=True)
