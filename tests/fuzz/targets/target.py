"""One kind of input, and the networks that several kinds speak of."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from clprune.container.model import Model
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from tests.container.networks import odd_network
from tests.fuzz.mutation import Mutation, mutated_bytes

if TYPE_CHECKING:
    from clprune.opencl import Session


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of input. `seeds` writes valid ones into a folder; `handle` reads one.

    Where it `runs`, it uses the device that it may be handed.
    """

    name: str
    suffix: str
    seeds: Callable[[Path], None]
    handle: Callable[[Path, Session | None], str]
    mutate: Mutation = mutated_bytes
    runs: bool = False


RUNNABLE_CFG = """[net]
batch=1
height=10
width=8
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=6
size=1
groups=2
activation=relu
[upsample]
stride=2
[route]
layers=-1,-4
[avgpool]
[dropout]
probability=.5
[connected]
output=4
activation=linear
[softmax]
groups=1
[cost]
"""
HEADS_CFG = """[net]
width=8
height=6
channels=3
[convolutional]
filters=14
size=3
stride=2
pad=1
activation=linear
[yolo]
mask=1,0
anchors=4,4,6,8
classes=2
num=2
scale_x_y=1.1
[route]
layers=0
[resize]
height=6
width=5
[convolutional]
filters=7
size=1
activation=linear
[region]
anchors=1,2
classes=2
num=1
softmax=1
"""

SHORTCUT_CFG = """[net]
width=6
height=6
channels=2
[convolutional]
filters=4
size=3
stride=2
padding=1
activation=mish
[convolutional]
filters=4
size=3
pad=1
activation=linear
prune_method=workgroup
prune_unit=2x1
prune_sparsity=0.5
[shortcut]
from=-2
activation=relu
[crop]
crop_height=2
crop_width=2
"""


@cache
def small_network() -> Network:
    folder = Path(tempfile.mkdtemp(prefix="clprune-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return odd_network(folder)


def run(network: Network, weights: Weights, session: Session) -> bool:
    """Every layer on the device beside its float64 reference: whether all are right."""
    from clprune.workflow.verify import verify

    return verify(Model(network=network, weights=weights), device=session).is_within
