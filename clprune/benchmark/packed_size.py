"""How small a model's file is in each form, and how long it takes to load, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clprune.benchmark.figures import Series
from clprune.container import save_weights
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import WorkerError
from clprune.pruning.network import PruneSettings
from clprune.pruning.prune import prune_network
from clprune.quantization.network import QuantizeSettings, quantize_network
from clprune.runner.pruned import with_prune_options
from clprune.unit import Unit

#: A file that has not been loaded by then never will.
LIMIT_SECONDS = 300.0

LOAD = """
import json, sys, time
from clprune.container import load_weights
from clprune.darknet.network import load_network
network = load_network(sys.argv[1])
start = time.perf_counter()
weights = load_weights(sys.argv[2], network)
read = time.perf_counter()
arrays = [(layer.weights, layer.coding) for layer in weights.layers if layer is not None]
print(json.dumps({"read_ms": 1e3 * (read - start), "load_ms": 1e3 * (time.perf_counter() - start)}))
"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of a model: how it is pruned (None: dense), coded (None: float32), and the suffix of its file."""

    name: str
    method: str | None = None
    unit: Unit | None = None
    sparsity: float = 0.0
    fc_sparsity: float = 0.0
    settings: QuantizeSettings | None = None
    suffix: str = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class PackedSize:
    """A form's file: bytes, milliseconds to read and check it, and to have all codes and float32 values as well."""

    form: str
    size_bytes: int
    read: Series
    load: Series


def measure_form(
    network: Network, dense: Weights, form: Form, *, folder: Path, rounds: int, say: Callable[[str], None]
) -> PackedSize:
    """Write `form` of the `dense` weights into `folder` and load it `rounds` times, after one that does not count.

    Each load is a process of its own, with the file in the system's memory. Raises WorkerError when one fails.
    """
    network, weights = _in_form(network, dense, form)
    path = folder / f"form{form.suffix}"
    save_weights(path, network, weights)
    size_bytes = path.stat().st_size
    times = [_load(network.path, path) for _ in range(rounds + 1)][1:]
    path.unlink()
    read, load = (Series(samples_ms=tuple(one[name] for one in times)) for name in ("read_ms", "load_ms"))
    say(f"{form.name}: {size_bytes / 1e6:.2f} MB, {load.best_ms:.0f} ms")
    return PackedSize(form=form.name, size_bytes=size_bytes, read=read, load=load)


def _in_form(network: Network, dense: Weights, form: Form) -> tuple[Network, Weights]:
    weights = dense
    if form.method is not None:
        unit = form.unit or Unit(rows=1)
        settings = PruneSettings(
            method=form.method,
            sparsity=form.sparsity,
            fc_sparsity=form.fc_sparsity,
            unit_for_layer=lambda layer: unit,
            first_dense=False,
        )
        pruned = prune_network(network, dense, settings)
        network, weights = with_prune_options(network, pruned.plan), pruned.weights
    if form.settings is not None:
        weights = quantize_network(network, weights, form.settings)
    return network, weights


def _load(cfg: Path, weights: Path) -> dict[str, float]:
    command = [sys.executable, "-c", LOAD, str(cfg), str(weights)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"loading {weights} took more than {LIMIT_SECONDS:g} seconds") from error
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise WorkerError(f"loading {weights} ended with status {result.returncode}: {last}")
    times: dict[str, float] = json.loads(result.stdout)
    return times
