"""What a recording still has to run, and what it keeps of earlier passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clprune.tiles.records import RUNTIME, Key, Measurement
from clprune.tiles.store import Store
from clprune.tuning.trial import Trial
from tools.search.record import LAYERS, Space, _shortened


@dataclass(frozen=True)
class Tile:
    width: int


TILES = [Tile(width) for width in (1, 2, 4, 8)]
KEY = Key(device="d", kernel="conv", source_hash="h", problem="p", workload="w")


def test_passes_keep_the_fastest_run_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    with Store(tmp_path / "recordings.sqlite", to_write=True) as store:
        known: dict[str, Measurement] = {}
        space = Space(name="n", task=LAYERS["conv256-14"], tiles=TILES, size=4, key=KEY, store=store, known=known)
        assert set(space.left(0)) == set(TILES)
        for tile, runs in zip(TILES, ((3.0, 2.0), (9.0,), (2.5,)), strict=False):
            space.keep(Trial(tile=tile, time_ms=min(runs), runs_ms=runs, build_ms=12.34, relative_error=1.2345e-7))
        assert space.left(0) == [Tile(8)]
        space.keep(Trial(tile=Tile(8), invalidity=RUNTIME))
        assert space.left(0) == []
        assert set(space.left(1)) == {Tile(1), Tile(4)}
        space.keep(Trial(tile=Tile(4), time_ms=1.51234567, runs_ms=(1.51234567,)))
        assert space.best_ms == 1.51234567
        kept = {measurement.tile: measurement for measurement in store.all_measurements()}
    assert {tile: item.time_ms for tile, item in kept.items()} == {tile: item.time_ms for tile, item in known.items()}
    assert kept['{"width": 4}'].runs_ms == (2.5, 1.512346)
    short = _shortened(Tile(4), kept['{"width": 4}'])
    assert (short.time_ms, short.runs_ms, short.timestamp) == (1.5123, (), "")
    assert _shortened(Tile(1), kept['{"width": 1}']).relative_error == 1.2e-7
