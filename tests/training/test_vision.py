"""CIFAR batches and ImageNet folders through torchvision's loaders, on small files of the published layout."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

pytest.importorskip("torch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)
from clprune.data import load_data
from clprune.errors import DataError
from clprune.image import ImageOptions
from clprune.training.vision import import_torchvision

CLASSES = [f"thing{index}" for index in range(10)]


def write_pickle(path: Path, content: dict[str, Any]) -> tuple[str, str]:
    path.write_bytes(pickle.dumps(content))
    return path.name, hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two training batches and one test batch of four images each, and their checksums in torchvision's place."""
    loader = import_torchvision().datasets.CIFAR10
    batches = folder / loader.base_folder
    batches.mkdir()
    listed = {}
    for number, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        pixels = np.full((4, 3072), 10 * number, np.uint8)
        pixels[:, :1024] += np.arange(4, dtype=np.uint8)[:, None]
        listed[name] = list(write_pickle(batches / name, {"data": pixels, "labels": [number, 3, 1, 9]}))
    name, digest = write_pickle(batches / "batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(loader, "train_list", [listed["data_batch_1"], listed["data_batch_2"]])
    monkeypatch.setattr(loader, "test_list", [listed["test_batch"]])
    monkeypatch.setattr(loader, "meta", {"filename": name, "key": "label_names", "md5": digest})
    return batches


def test_cifar_batches_are_read_from_either_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar10(tmp_path, monkeypatch)
    train = load_data(f"cifar10:{tmp_path}", split="train", height=32, width=32)
    assert_array_equal(train.labels, [0, 3, 1, 9, 1, 3, 1, 9])
    assert train.class_names == tuple(CLASSES)
    assert_array_equal(train.images[:][:, 0, 5, 7], [0, 1, 2, 3, 10, 11, 12, 13])
    assert_array_equal(train.images[:][:, 1, 5, 7], [0, 0, 0, 0, 10, 10, 10, 10])
    test = load_data(f"cifar10:{batches}", split="test", height=16, width=24, count=2)
    assert test.images[:].shape == (2, 3, 16, 24)


def test_damaged_and_missing_batches_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="expected cifar-100-python/"):
        load_data(f"cifar100:{tmp_path}", split="test", height=32, width=32)
    batches = write_cifar10(tmp_path, monkeypatch)
    (batches / "data_batch_2").write_bytes(b"cut off")
    with pytest.raises(DataError, match="expected cifar-10-batches-py/"):
        load_data(f"cifar10:{tmp_path}", split="train", height=32, width=32)


def test_imagenet_folders_are_read_lazily(tmp_path: Path) -> None:
    for split, colour in (("train", 255), ("val", 51)):
        for name in ("n01440764", "n01443537"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (6, 4), (colour, 0, 0)).save(tmp_path / split / name / "a.JPEG", format="png")
    data = load_data(f"imagenet:{tmp_path}", split="test", height=4, width=4, options=ImageOptions(resize="crop"))
    assert data.class_names == ("n01440764", "n01443537")
    assert_array_equal(data.labels, [0, 1])
    assert_array_equal(data.batch([1])[0, 0], np.full((4, 4), 0.2, np.float32))
    with pytest.raises(DataError, match="expected one sub-folder"):
        load_data(f"imagenet:{tmp_path / 'val'}", split="test", height=4, width=4)
