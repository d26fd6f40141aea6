"""The cache of built kernels is harmless: missing, damaged or unwritable."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from clprune.opencl import binary_cache
from tests.imaginary import imaginary_device


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_stored_is_loaded(cache: Path) -> None:
    path = binary_cache.entry_path(imaginary_device(), "kernel", ("-w",))
    assert path.parent == cache / "kernels"
    assert binary_cache.load(path) is None
    binary_cache.store(path, b"binary")
    assert binary_cache.load(path) == b"binary"


def test_device_driver_source_and_options_each_count() -> None:
    device = imaginary_device()
    paths = {
        binary_cache.entry_path(device, "a", ()),
        binary_cache.entry_path(device, "b", ()),
        binary_cache.entry_path(device, "a", ("-w",)),
        binary_cache.entry_path(dataclasses.replace(device, driver_version="2"), "a", ()),
        binary_cache.entry_path(dataclasses.replace(device, type="cpu"), "a", ()),
    }
    assert len(paths) == 5
    assert binary_cache.entry_path(dataclasses.replace(device, device_index=1), "a", ()) in paths


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 40])
def test_damaged_entry_is_no_entry(damage: bytes) -> None:
    path = binary_cache.entry_path(imaginary_device(), "kernel", ())
    binary_cache.store(path, b"binary")
    path.write_bytes(damage)
    assert binary_cache.load(path) is None


def test_unwritable_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "file"))
    path = binary_cache.entry_path(imaginary_device(), "kernel", ())
    binary_cache.store(path, b"binary")
    assert binary_cache.load(path) is None


def test_oldest_half_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_cache, "_MOST_ENTRIES", 4)
    paths = [binary_cache.entry_path(imaginary_device(), str(number), ()) for number in range(5)]
    for age, path in enumerate(paths[:4]):
        binary_cache.store(path, b"binary")
        os.utime(path, (1000 + age, 1000 + age))
    binary_cache.load(paths[0])  # used just now
    binary_cache.store(paths[4], b"binary")
    assert [path.exists() for path in paths] == [True, False, False, True, True]
