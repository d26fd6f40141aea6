"""Networks as cfg files: read, planned for small devices, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clprune.darknet.kinds.base import WeightedLayer
from clprune.darknet.kinds.normalization import Normalization
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.registry import built_in_kinds
from clprune.errors import LaunchError, UnsupportedLayerError
from clprune.plan.plan import make_plan
from tests.fuzz.mutation import mutated_cfg
from tests.fuzz.targets.target import RUNNABLE_CFG, SHORTCUT_CFG, Target, run, small_network
from tests.imaginary import imaginary_device

if TYPE_CHECKING:
    from clprune.opencl import Session


#: A network runs on a device where none of its arrays and no layer's multiplications are more than this.
_MAX_VALUES, _MAX_PRODUCTS = 1 << 16, 1 << 22


#: A GPU and a CPU that have little of everything.
_SMALL_DEVICES = [
    imaginary_device(
        type=kind,
        max_work_group_size=16,
        max_work_item_sizes=(16, 4, 1),
        local_mem_bytes=1024,
        max_alloc_bytes=1 << 16,
        global_mem_bytes=1 << 18,
    )
    for kind in ("gpu", "cpu")
]


def _cfg_seeds(folder: Path) -> None:
    """Networks, and one section of every kind with all of its keys: of a kind that is new as well."""
    (folder / "odd.cfg").write_bytes(small_network().path.read_bytes())
    (folder / "runnable.cfg").write_text(RUNNABLE_CFG)
    (folder / "shortcut.cfg").write_text(SHORTCUT_CFG)
    for kind in set(built_in_kinds().values()):
        for value in (1, 0):
            options = "".join(f"{key}={value}\n" for key in dict.fromkeys(kind.all_keys().read.split()))
            (folder / f"{kind.names[0]}{value}.cfg").write_text(f"{SHORTCUT_CFG}[{kind.names[0]}]\n{options}")


def _handle_cfg(path: Path, session: Session | None) -> str:
    network = load_network(path)
    if session is not None and _is_small(network):
        is_right = run(network, random_weights(network, seed=1), session)
        # darknet's sums of [normalization] may lie near -kappa / alpha, where nothing can be right
        assert is_right or any(isinstance(layer, Normalization) for layer in network.layers), "wrong on the device"
    planned = []
    for device in _SMALL_DEVICES:
        try:
            planned.append(len(make_plan(network, device).steps))
        except (LaunchError, UnsupportedLayerError) as error:
            planned.append(type(error).__name__)
    return " ".join([*(layer.kind for layer in network.layers), *map(str, planned)])


def _is_small(network: Network) -> bool:
    values = [network.input.elements, *(layer.output.elements for layer in network.layers)]
    products = [0]
    for layer in network.layers:
        values += [int(np.prod([float(side) for side in shape])) for shape in layer.arrays.values()]
        columns = layer.columns if isinstance(layer, WeightedLayer) else getattr(layer, "size", 1) ** 2
        products.append(layer.output.elements * columns)
    return max(values) <= _MAX_VALUES and max(products) <= _MAX_PRODUCTS


TARGETS = [Target(name="cfg", suffix=".cfg", seeds=_cfg_seeds, handle=_handle_cfg, mutate=mutated_cfg, runs=True)]
