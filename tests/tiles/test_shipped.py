"""Tiles that come with the library: whose they are, where they come among look-ups, and what a table may hold."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from clprune.device import DeviceInfo
from clprune.errors import StoreError
from clprune.geometry import ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.conv import CONV, ConvTile
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_operation import winograd_operation
from clprune.kernels.workload import Workload
from clprune.plan.chooser import Chooser
from clprune.plan.steps import Chosen, Step
from clprune.tiles import shipped
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import parameters_from, result_key
from clprune.tiles.shipped import FORMAT, NO_TILE, TABLES, DeviceClass, read_table, table_for
from clprune.tiles.store import Store
from tests.imaginary import imaginary_device

CACHES = (48 << 10, 1 << 20, 32 << 20)
FACTS: dict[str, Any] = {
    "type": "cpu", "platform_name": "Example Platform", "native_vector_width_float": 8, "cache_bytes": CACHES,
}  # fmt: skip
DEVICE = imaginary_device(**FACTS)
TILE = ConvTile(tile_m=4, vector_width=8, vectors=3)


def layer(side: int = 56, kept_share: float = 1.0) -> Offer:
    problem = ConvProblem.square(
        batch=1, in_channels=64, in_height=side, in_width=side, out_channels=64, size=3, padding=1
    )
    return Offer(kernel=CONV, operation=conv_operation(problem), workload=Workload(kept_share=kept_share), label="own")


def row(offer: Offer, *, tile: Any = TILE, time_ms: float = 2.0, **more: Any) -> dict[str, Any]:
    facts = {"kernel": offer.kernel.name, "problem": offer.operation.key, "kept_share": offer.workload.kept_share}
    times = {"unit_rows": 8, "time_ms": time_ms, "default_time_ms": 3.0}
    return facts | times | {"tile": None if tile is None else asdict(tile)} | more


def content(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = ("platform_vendor", "platform_name", "vendor", "name", "driver_version", "type", "architecture")
    device = {name: getattr(DEVICE, name) for name in names}
    return {"format": FORMAT, "device": device, "lanes": 8, "cache_bytes": list(CACHES), "best": list(rows)} | more


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "TABLES", tmp_path)
    return tmp_path


def put(folder: Path, *rows: dict[str, Any], name: str = "example", **more: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content(*rows, **more)))
    shipped._tables.cache_clear()


def find(offer: Offer, *, device: DeviceInfo = DEVICE, store: Store | None = None) -> tuple[Any, str] | None:
    return Lookup(store or Store(None), device)(offer)


def test_exact_and_near_shapes(folder: Path) -> None:
    put(folder, row(layer(56)))
    assert find(layer(56)) == (TILE, "shipped")
    assert find(layer(28)) == (TILE, "shipped for n1 c64 h56 w56 m64 size3 padding1 dense")
    assert find(layer(7)) is None
    assert Lookup(Store(None), DEVICE, has_shipped=False)(layer(56)) is None


def test_what_was_tuned_here_comes_first(folder: Path) -> None:
    put(folder, row(layer(56)))
    store, own = Store(None), ConvTile(tile_m=8, vector_width=8, vectors=1)
    store.add_device(DEVICE)
    store.set_best(result_key(DEVICE, layer(28)), own, workload=Workload(), time_ms=1.0, default_time_ms=1.0)
    assert find(layer(56), store=store) == (TILE, "shipped")
    assert find(layer(30), store=store) == (own, "tuned for n1 c64 h28 w28 m64 size3 padding1 dense")
    store.set_best(result_key(DEVICE, layer(56)), own, workload=Workload(), time_ms=1.0, default_time_ms=1.0)
    assert find(layer(56), store=store) == (own, "tuned")


@pytest.mark.parametrize("tile", [TILE, None])
def test_no_time_of_another_tile(folder: Path, tile: ConvTile | None) -> None:
    """What was measured for nearly as many weights is not what a shipped tile, or the default, takes."""
    store, offer = Store(None), layer(56, kept_share=0.25)
    near = Workload(kept_share=0.24)
    store.set_best(
        result_key(DEVICE, replace(offer, workload=near)), TILE, workload=near, time_ms=1.0, default_time_ms=2.0
    )
    put(folder)
    assert Lookup(store, DEVICE).time_ms(offer) == pytest.approx(0.25 / 0.24)
    put(folder, row(offer, tile=tile))
    assert Lookup(store, DEVICE).time_ms(offer) is None
    store.set_best(result_key(DEVICE, offer), TILE, workload=offer.workload, time_ms=3.0, default_time_ms=4.0)
    assert Lookup(store, DEVICE).time_ms(offer) == 3.0


def test_a_class_is_family_lanes_and_caches(folder: Path) -> None:
    put(folder, row(layer()), name="small")
    other = ConvTile(tile_m=6, vector_width=8, vectors=2)
    put(folder, row(layer(), tile=other), name="large", cache_bytes=[48 << 10, 8 << 20, 64 << 20])
    assert find(layer()) == (TILE, "shipped")
    large = imaginary_device(**{**FACTS, "cache_bytes": (64 << 10, 4 << 20)})
    assert find(layer(), device=large) == (other, "shipped")
    assert table_for(imaginary_device(**{**FACTS, "cache_bytes": ()})) is not None
    for strange in ({"native_vector_width_float": 16}, {"platform_name": "Another"}, {"type": "gpu"}):
        assert table_for(imaginary_device(**{**FACTS, **strange})) is None
    assert DeviceClass.of(imaginary_device(simd_width=32)).lanes == 32


def test_where_the_default_is_as_good_there_is_no_tile(folder: Path) -> None:
    put(folder, row(layer(), tile=None))
    assert find(layer()) is None
    assert Lookup(Store(None), DEVICE).estimate_ms(layer()) == 2.0


def test_tiles_of_other_versions(folder: Path) -> None:
    """A parameter that is newer than the table has its default; one that is unknown makes the tile none."""
    older = {name: value for name, value in asdict(TILE).items() if name != "turns"}
    put(folder, row(layer(56)) | {"tile": older})
    assert find(layer(56)) == (TILE, "shipped")
    put(folder, row(layer(56)) | {"tile": older | {"of_tomorrow": 1}}, row(layer(28)))
    assert find(layer(56)) == (TILE, "shipped for n1 c64 h28 w28 m64 size3 padding1 dense")
    put(folder, row(layer(56)) | {"tile": older | {"tile_m": 5}})
    assert find(layer(56)) is None


def test_times_choose_the_kernel_where_nothing_was_measured(folder: Path) -> None:
    direct = layer(56)
    domain = Offer(kernel=WINOGRAD, operation=winograd_operation(direct.operation, output_tile=4), label="winograd")
    put(folder, row(direct), row(domain, tile=None, time_ms=0.5))

    def chosen(*offers: Offer, times: Any = None) -> Chosen:
        lookup = Lookup(Store(None), DEVICE)
        step = Step(layer=None, label="", offers=offers, inputs=(), output=0)
        return Chooser(device=DEVICE, lookup=lookup, times=times, estimates=lookup.estimate_ms).chosen(step)

    found = chosen(direct, domain)
    assert (found.kernel, found.tile_origin) == (WINOGRAD, "default")
    assert found.reason == "nothing was measured: the fastest of 2 on devices like this one"
    found = chosen(direct, domain, times={direct: 9.0}.get)
    assert (found.kernel, found.tile_origin) == (CONV, "shipped")
    lookup = Lookup(Store(None), DEVICE)
    assert lookup.estimate_ms(layer(28)) == pytest.approx(2.0 / 4)
    assert lookup.estimate_ms(layer(56, kept_share=0.5)) == pytest.approx(1.0)
    assert lookup.estimate_ms(layer(7)) is None
    put(folder, row(direct, kept_share=0.0), row(layer(28)))  # of no work nothing can be said
    assert Lookup(Store(None), DEVICE).estimate_ms(layer(56)) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"format": "tiles 9"}, "the format is 'tiles 9': expected 'clprune tiles 1'"),
        ({"lanes": "8"}, "lanes is '8': expected int"),
        ({"cache_bytes": [-1]}, "cache_bytes is [-1]: expected a list of positive whole numbers"),
        ({"best": {}}, "best is {}: expected a list"),
        ({"best": [1]}, "a winner is 1: expected an object"),
        ({"best": [{"kept_share": 2.0, "unit_rows": 8}]}, "kernel is None: expected str"),
        ({"best": [row(layer(), kept_share=2.0)]}, "kept_share is 2.0; expected a number up to 1"),
        ({"best": [row(layer()) | {"tile": 5}]}, "tile is 5: expected an object"),
        ({"device": {}}, "platform_vendor is None: expected str"),
    ],
)
def test_what_is_no_table(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content() | more))
    with pytest.raises(StoreError) as refusal:
        read_table(path)
    assert message in str(refusal.value)


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.json")), ids=lambda path: path.stem)
def test_tables_that_are_shipped(path: Path) -> None:
    """Every tile passes the kernel's own door; nothing is slower than the default."""
    table, kernels = read_table(path), {kernel.name: kernel for kernel in built_in_kernels()}
    assert table.best
    for best in table.best:
        kernel = kernels[best.key.kernel]
        assert best.time_ms is not None and best.default_time_ms is not None
        assert 0 < best.time_ms <= best.default_time_ms
        if best.tile != NO_TILE:
            assert parameters_from(best.tile).keys() <= kernel.parameters.keys()
            assert shipped.known_tile(kernel, best.tile) is not None


def test_other_tables_serve_with_what_the_nearest_lacks(folder: Path) -> None:
    """Of a problem all kernels come from one table, for their times are compared."""
    own, far = tuple(CACHES), (32 << 10, 512 << 10, 16 << 20)
    (folder / "own.json").write_text(json.dumps(content(row(layer(56), time_ms=2.0), cache_bytes=list(own))))
    other = row(layer(56), time_ms=9.0) | {"kernel": "conv_channels", "tile": None}
    rows = (row(layer(56), time_ms=1.0), other, row(layer(28), time_ms=5.0))
    (folder / "far.json").write_text(json.dumps(content(*rows, cache_bytes=list(far))))
    table = table_for(DEVICE)
    assert table is not None and table.name == "own"
    found = sorted((best.key.kernel, best.key.problem, best.time_ms) for best in table.best)
    assert found == sorted([("conv", layer(28).operation.key, 5.0), ("conv", layer(56).operation.key, 2.0)])
    (folder / "strange.json").write_text(json.dumps(content(row(layer(14)), lanes=16)))
    shipped._tables.cache_clear()
    table = table_for(DEVICE)
    assert table is not None and len(table.best) == 2
