"""A small detector of two heads with random weights, and the real one that lies beside the checkout, where it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights

CFG = """\
[net]
width=32
height=24
channels=3

[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=6,8, 12,10, 20,16
classes=3
num=3
nms_kind=greedynms
scale_x_y=1.1

[route]
layers=-3

[maxpool]
size=2
stride=2

[convolutional]
filters=8
size=1
activation=linear

[yolo]
mask=2
anchors=6,8, 12,10, 20,16
classes=3
num=3
nms_kind=greedynms
"""


def write_detector(cfg: Path, *, channels: int = 3) -> Path:
    """Write the small detector as `cfg` with its weights beside it."""
    cfg.write_text(CFG.replace("channels=3", f"channels={channels}"))
    network = load_network(cfg)
    write_weights(cfg.with_suffix(".weights"), network, random_weights(network, seed=1))
    return cfg


def shared_model() -> Path:
    """The folder of a real model with its right answer; the test is skipped where there is none."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("CLPRUNE_SHARED_DATA", default)) / "darknet"
    if not (folder / "dog-expected.json").exists():
        pytest.skip(f"no real model: {folder} is absent (CLPRUNE_SHARED_DATA moves it)")
    return folder
