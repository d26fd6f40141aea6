"""Tiles from outside are data: nothing but declared values of the declared types becomes a tile, let alone source."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from clprune import rendering
from clprune.errors import RenderError, TileError
from clprune.kernels import base
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.tile import values_before
from clprune.rendering import render
from clprune.tiles.records import tile_from, tile_text

INJECTED = "0); printf(1); PREFETCH(u"
TEXTS = (INJECTED, "", "flat\n", "fl\u00e4t", "16")
HOSTILE = (*TEXTS, 1.0, 16.0, float("nan"), True, False, None, [], [1], {}, -1, 2**31, 2**64)

each_kernel = pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)


def tiles(kernel: Kernel[Any, Any]) -> list[Any]:
    return [*kernel.cpu_tiles, *kernel.gpu_tiles, *map(kernel.safe_tile, kernel.sample_operations())]


@each_kernel
def test_own_tiles_are_made_of_declared_values(kernel: Kernel[Any, Any]) -> None:
    for tile in tiles(kernel):
        assert kernel.tile_of(json.loads(json.dumps(dataclasses.asdict(tile)))) == tile
        assert tile_from(kernel, tile_text(tile)) == tile


@each_kernel
def test_hostile_values_become_no_tile(kernel: Kernel[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And so no source: nothing is rendered here."""
    monkeypatch.setattr(base, "render", lambda *_, **__: pytest.fail("something was rendered"))
    values = dataclasses.asdict(tiles(kernel)[0])
    for name in values:
        for hostile in (*HOSTILE, 0):
            if type(hostile) is int and hostile in kernel.parameters[name]:
                continue
            with pytest.raises(TileError, match=rf"^{kernel.name}: {name} is .*; expected one of \w+"):
                kernel.tile_of({**values, name: hostile})
            assert tile_from(kernel, json.dumps({**values, name: hostile})) is None


@each_kernel
def test_unknown_and_missing_parameters_are_refused(kernel: Kernel[Any, Any]) -> None:
    values = dataclasses.asdict(tiles(kernel)[0])
    with pytest.raises(TileError, match=rf"{kernel.name}: found the parameters .*, other; expected "):
        kernel.tile_of({**values, "other": 1})
    for name in values.keys() - values_before(kernel.tile_type).keys():
        with pytest.raises(TileError, match="found the parameters"):
            kernel.tile_of({key: value for key, value in values.items() if key != name})
    for other in ([], 3, "tile", None):
        with pytest.raises(TileError):
            kernel.tile_of(other)  # type: ignore[arg-type]
        assert tile_from(kernel, json.dumps(other)) is None
    assert tile_from(kernel, "[" * 100_000) is None


@each_kernel
def test_hostile_values_reach_no_template(kernel: Kernel[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in a tile that was made past `tile_of`."""
    monkeypatch.setattr(rendering, "_lookup", lambda _: pytest.fail("a template was looked up"))
    operation = kernel.sample_operations()[0]
    tile = kernel.safe_tile(operation)
    for field in dataclasses.fields(tile):
        for hostile in (value for value in HOSTILE if type(value) is not int):
            with pytest.raises(RenderError, match=rf"{kernel.name}: {field.name} is .*declared words"):
                kernel.source(dataclasses.replace(tile, **{field.name: hostile}), operation)


@pytest.mark.parametrize("value", [INJECTED, "a b", "a;", "a\n", [1, "a("], {"a": ("b", "c)")}, {"(": 1}, None, b"a"])
def test_text_in_variables_is_words(value: object) -> None:
    with pytest.raises(RenderError, match=r"template softmax\.cl\.mako: given is .*; expected numbers and words"):
        render("softmax", {"given": value})
