"""Which unit to prune a layer in, so that it is fastest on a device: the tile's rows and the unit are found together.

A tile tuned for units of 8 rows says nothing of how fast units of 16 would be, so each height is a workload of its own
in the tuning database; per layer the one with the fastest tile counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clprune.algorithms import Algorithms
from clprune.darknet.layers import Connected, Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.kernels.base import Workload
from clprune.opencl import Session
from clprune.pruning.network import prunable_layers, prune_random
from clprune.runner.plan import make_plan
from clprune.runner.pruned import tile_units, with_prune_options
from clprune.runner.steps import Step
from clprune.runner.workload import WeightForm
from clprune.tile import Unit
from clprune.tuning.effort import Effort
from clprune.tuning.store import Store, result_key
from clprune.tuning.tune import Task, tune, unique_tasks

#: Unit rows where nobody says which: those of the tiles that CPUs with wide vectors turn out to want.
CONVOLUTION_ROWS = (8,)
CONNECTED_ROWS = (32,)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a network is run: shares of units removed from convolutions but the first and from connected layers, and how
    the latter's weights lie in memory. Zero shares leave it dense.
    """

    name: str
    sparsity: float = 0.0
    fc_sparsity: float = 0.0
    connected_storage: str = "float32"

    @property
    def is_dense(self) -> bool:
        """Nothing is removed."""
        return not self.sparsity and not self.fc_sparsity

    @property
    def weights_name(self) -> str:
        """The same for variants that run the same weights."""
        return "dense" if self.is_dense else f"{100 * self.sparsity:g}-{100 * self.fc_sparsity:g}"

    def kept_shares(self, network: Network) -> dict[int, float]:
        """Layer index -> share of units kept, of the layers that lose some."""
        convolutions, connected = prunable_layers(network)
        removed = {layer.index: self.sparsity for layer in convolutions}
        removed |= {layer.index: self.fc_sparsity for layer in connected}
        return {index: round(1 - share, 2) for index, share in removed.items() if share}


@dataclass(frozen=True, kw_only=True)
class UnitRows:
    """Unit rows to try, by kind of layer."""

    convolution: tuple[int, ...] = CONVOLUTION_ROWS
    connected: tuple[int, ...] = CONNECTED_ROWS


def variant_steps(
    network: Network, device: DeviceInfo, variant: Variant, *, unit_rows: UnitRows, place: int
) -> list[Step]:
    """The plan's steps with every pruned layer in its kind's unit of that `place` in `unit_rows` (or the last)."""
    forms = {}
    for index, share in variant.kept_shares(network).items():
        rows = unit_rows.convolution if isinstance(network.layers[index], Convolutional) else unit_rows.connected
        workload = Workload(kept_share=share, unit_rows=rows[min(place, len(rows) - 1)])
        forms[index] = WeightForm(workload=workload)
    plan = make_plan(
        network,
        device,
        forms=forms,
        connected_storage=variant.connected_storage,
        algorithms=Algorithms(names=("direct",)),
    )
    return list(plan.steps)


def variant_tasks(network: Network, device: DeviceInfo, variants: Sequence[Variant], unit_rows: UnitRows) -> list[Task]:
    """Everything worth tuning for these variants, each problem once."""
    places = max(len(unit_rows.convolution), len(unit_rows.connected))
    steps: list[Step] = []
    for variant in variants:
        for place in range(1 if variant.is_dense else places):
            steps += variant_steps(network, device, variant, unit_rows=unit_rows, place=place)
    return unique_tasks(steps)


def missing_tasks(store: Store, device: DeviceInfo, tasks: Sequence[Task]) -> list[Task]:
    """Those without a tile that was tuned for exactly this device, driver and problem."""
    return [
        task
        for task in tasks
        if store.best(result_key(device, task.kernel, task.operation, task.workload), task.kernel) is None
    ]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How what is not tuned yet is tuned first: `effort`, or None for not at all; `budget_s` replaces its seconds."""

    effort: Effort | None = None
    budget_s: float | None = None


def tune_missing(
    session: Session, store: Store, tasks: Sequence[Task], tuning: Tuning, *, say: Callable[[str], None]
) -> None:
    """Tune what is missing with the ordinary tuner, or `say` how much that is. Raises what `tune` raises."""
    missing = missing_tasks(store, session.info, tasks)
    if not missing:
        return
    if tuning.effort is None:
        say(f"{len(missing)} of {len(tasks)} problems are not tuned: the nearest tuned tiles are used")
        return
    say(f"tuning {len(missing)} of {len(tasks)} problems")
    tune(session, store, missing, budget_s=tuning.budget_s, effort=tuning.effort)


def fastest_units(
    network: Network, device: DeviceInfo, store: Store, variant: Variant, *, unit_rows: UnitRows
) -> dict[int, Unit]:
    """Layer index -> the unit whose tuned tile is fastest, for layers that `variant` prunes.

    A layer for which none of the units is tuned gets that of the tile that would run it.
    """
    best: dict[int, tuple[float, Unit]] = {}
    for place in range(max(len(unit_rows.convolution), len(unit_rows.connected))):
        for step in variant_steps(network, device, variant, unit_rows=unit_rows, place=place):
            if step.layer is None or step.workload.is_dense:
                continue
            found = store.best(result_key(device, step.kernel, step.operation, step.workload), step.kernel)
            if found is not None and found[1] < best.get(step.layer.index, (float("inf"),))[0]:
                best[step.layer.index] = found[1], Unit(rows=step.workload.unit_rows)
    units = tile_units(
        network,
        device,
        lookup=store.lookup_for(device),
        sparsity=variant.sparsity,
        fc_sparsity=variant.fc_sparsity,
    )
    return units | {index: unit for index, (_, unit) in best.items()}


def prune_in_units(
    network: Network, weights: Weights, variant: Variant, units: Mapping[int, Unit]
) -> tuple[Network, Weights]:
    """The network with its prune options, and weights without the smallest units; both as they are for a dense one."""
    if variant.is_dense:
        return network, weights
    pruned, options = prune_random(
        network,
        weights,
        method="workgroup",
        sparsity=variant.sparsity,
        fc_sparsity=variant.fc_sparsity or None,
        unit_for_layer=lambda layer: units[layer.index],
    )
    return with_prune_options(network, options), pruned


def has_matrix(step: Step) -> bool:
    """Whether the step is a convolution or connected layer, pooling that is fused included."""
    return isinstance(step.layer, Convolutional | Connected)
