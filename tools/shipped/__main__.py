"""Tables of tiles shipped with the library: measure what is missing, then write the table of this class of device.

    python -m tools.shipped [--networks vgg16,resnet50] [--forms dense,kept25] [--evaluations N] [--seconds S]
        [--database FILE] [--device D] [--write]

A second run goes on from the first: everything is kept in the database after each tile. Intel's CPU runtime is made to
compile for AVX2 by CL_CONFIG_CPU_TARGET_ARCH=core-avx2, which is a class of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from clprune.darknet.network import Network
from clprune.kernels.base import Offer
from clprune.kernels.conv import CONV
from clprune.kernels.workload import WeightForm, Workload
from clprune.opencl import Session, open_device
from clprune.plan.plan import make_plan
from clprune.pruning.network import prunable_layers
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from clprune.tuning.tune import offers_to_tune
from tools.bench.units import UnitRows
from tools.shipped.measure import Measuring
from tools.shipped.networks import NAMES, shapes_of
from tools.shipped.write import table_path, write_table
from tools.terminal import COUNT, SECONDS, options, run_command

#: Name -> kept share of convolutions and of connected layers, Winograd domain.
FORMS: dict[str, tuple[float, float, int | None]] = {
    "dense": (1.0, 1.0, None),
    "kept25": (0.25, 0.1, None),
    "kept12": (0.125, 0.05, None),
    "kept25-f4": (0.25, 0.1, 4),
    "kept12-f4": (0.125, 0.05, 4),
}


@click.command()
@options(
    networks={"default": ",".join(NAMES), "help": "Whose shapes."},
    forms={"default": ",".join(FORMS), "help": "What was removed from their weights."},
    evaluations={"default": 24, "type": COUNT, "help": "Tiles of each problem."},
    seconds={"type": SECONDS, "help": "Begin no further problem after so long."},
    database=Path("build/shipped.sqlite"),
    device=None,
    write={"default": False, "help": "Also write the table of this class of device."},
)
def shipped(
    *,
    networks: str,
    forms: str,
    evaluations: int,
    seconds: float | None,
    database: Path,
    device: str | None,
    write: bool,
) -> None:
    """Measure what is missing, then write the table if asked to."""
    end = time.monotonic() + (seconds or float("inf"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    database.parent.mkdir(parents=True, exist_ok=True)
    with Store(database) as store, open_device(device, keeps_binaries=False) as session:
        measuring = Measuring(session=session, store=store, evaluations=evaluations)
        for offer in all_offers(session, networks.split(","), forms.split(",")):
            if store.best(result_key(session.info, offer), offer.kernel) is not None:
                continue
            if time.monotonic() > end:
                click.echo("the time is over; the same command goes on from here", err=True)
                break
            _, time_ms, default_ms = measuring.best_of(offer)
            where = f"{offer.kernel.name} {offer.operation.key} {offer.workload.key}"
            click.echo(f"{where}: {time_ms:.3f} ms, default {default_ms:.3f}, {default_ms / time_ms:.2f}x", err=True)
        if write:
            path = table_path(session.info)
            click.echo(f"{write_table(path, store, session.info)} winners in {path}", err=True)


def all_offers(session: Session, networks: Sequence[str], forms: Sequence[str]) -> Iterator[Offer]:
    """Different problems, network by network and form by form."""
    with tempfile.TemporaryDirectory() as folder:
        for network in [shapes_of(name, Path(folder)) for name in networks]:
            for form in forms:
                found = weight_forms(network, form, UnitRows.on(session.info))
                plan = make_plan(network, session.info, forms=found)
                offers = offers_to_tune(plan.steps)
                yield from (offer for offer in offers if offer.is_likely or offer.kernel is CONV)


def weight_forms(network: Network, name: str, unit_rows: UnitRows) -> dict[int, WeightForm]:
    """The forms of the layers that are pruned, in the first of `unit_rows`; layers of several groups are left dense."""
    kept, fc_kept, winograd = FORMS[name]
    if kept == 1.0:
        return {}
    convolutions, connected = prunable_layers(network)
    spatial = WeightForm(workload=Workload(kept_share=kept, unit_rows=unit_rows.convolution[0]))
    found = {layer.index: spatial for layer in convolutions if getattr(layer.problem(1), "groups", 1) == 1}
    if winograd is not None:
        domain = WeightForm(workload=spatial.workload, winograd=winograd)
        found = {layer.index: domain for layer in convolutions if layer.has_winograd_domain}
    whole = Workload(kept_share=fc_kept, unit_rows=unit_rows.connected[0])
    return found | {layer.index: WeightForm(workload=whole) for layer in connected}


if __name__ == "__main__":
    run_command(shipped)
