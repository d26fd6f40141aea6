"""Errors per layer on the device: which layers are measured, and that they are as small as they should be."""

from __future__ import annotations

from pathlib import Path

from clprune.darknet.network import load_network
from clprune.opencl import Session
from tools.bench.winograd_error import network_errors

CFG = """
[net]
width=9
height=9
channels=3

[convolutional]
filters=4
size=3
stride=1
pad=1
activation=relu

[convolutional]
filters=4
size=1
stride=1
activation=relu

[convolutional]
filters=4
size=3
stride=1
pad=1
activation=relu

[convolutional]
filters=4
size=3
stride=1
pad=1
activation=relu
"""


def test_each_problem_once(device_context: Session, tmp_path: Path) -> None:
    """The 1x1 layer is none of Winograd's, the last is the one before again."""
    cfg = tmp_path / "small.cfg"
    cfg.write_text(CFG)
    errors = list(network_errors(device_context, load_network(cfg), seed=0))
    assert [layer.layer for layer in errors] == [0, 2]
    for layer in errors:
        assert layer.direct < 1e-6
        for output_tile in (2, 4):
            assert 0 < layer.winograd[output_tile] < 4 * layer.expected[output_tile] < 1e-4
