"""The tool that makes tables of shipped tiles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from clprune.kernels.conv import ConvTile
from clprune.opencl import Session
from clprune.tiles.records import result_key
from clprune.tiles.shipped import read_table
from clprune.tiles.store import Store
from tests.tiles.test_shipped import DEVICE, TILE, layer
from tools.shipped.__main__ import all_offers
from tools.shipped.write import write_table


def test_every_network_and_form_is_measured(device_context: Session) -> None:
    def problems(*networks: str, forms: tuple[str, ...]) -> set[tuple[str, str]]:
        return {(offer.operation.key, offer.workload.key) for offer in all_offers(device_context, networks, forms)}

    apart = [problems(name, forms=(form,)) for name in ("yolov3-tiny", "darknet19") for form in ("dense", "kept25")]
    assert all(apart)
    assert problems("yolov3-tiny", "darknet19", forms=("dense", "kept25")) == set.union(*apart)


def test_a_table_keeps_what_was_not_measured_anew(tmp_path: Path) -> None:
    path, own = tmp_path / "table.json", replace(TILE, vectors=2)

    def measured(*winners: tuple[int, object]) -> Store:
        store = Store(None)
        store.add_device(DEVICE)
        for side, tile in winners:
            offer = layer(side)
            store.set_best(result_key(DEVICE, offer), tile, workload=offer.workload, time_ms=1.0, default_time_ms=2.0)
        return store

    assert write_table(path, measured((28, TILE), (56, TILE)), DEVICE) == 2
    assert write_table(path, measured((56, own), (112, own)), DEVICE) == 3
    winners = {best.key.problem: ConvTile(**json.loads(best.tile)) for best in read_table(path).best}
    assert [winners[layer(side).operation.key] for side in (28, 56, 112)] == [TILE, own, own]
