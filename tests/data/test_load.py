"""Data sets by name and from a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from clprune.data import DataSet, list_data, load_data
from clprune.data.digits_on_photos import split_originals
from clprune.data.folder import choose
from clprune.data.resize import resize_bilinear
from clprune.errors import DataError, ImageError, UsageError


def write_image(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 5), colour).save(path)


def test_synthetic_needs_nothing_and_is_reproducible() -> None:
    data = load_data("synthetic", split="train", height=9, width=7, count=23)
    assert data.images.shape == (23, 3, 9, 7) and data.images.dtype == np.uint8  # type: ignore[union-attr]
    assert_array_equal(data.labels, np.arange(23) % 10)
    again = load_data("synthetic", split="train", height=9, width=7, count=23)
    assert_array_equal(data.images[:], again.images[:])
    other = load_data("synthetic", split="test", height=9, width=7, count=23)
    assert (data.images[:] != other.images[:]).any()


def test_digits_keep_their_split_and_size() -> None:
    pytest.importorskip("sklearn")
    train = load_data("digits", split="train", height=8, width=8)
    test = load_data("digits", split="test", height=16, width=12)
    assert (len(train), len(test)) == tuple(map(len, split_originals(1797)))
    assert test.images[:].shape == (359, 3, 16, 12)
    assert train.images[:].max() == 255


def test_fractals_follow_from_their_seed_and_have_no_labels() -> None:
    data = load_data("fractals", split="train", height=12, width=9, count=5, seed=3)
    images = data.images[:]
    assert images.shape == (5, 3, 12, 9) and not data.is_labelled
    assert min(len(np.unique(image)) for image in images) > 6
    assert_array_equal(images[:3], load_data("fractals", split="train", height=12, width=9, count=3, seed=3).images[:])
    assert (data.epoch(1).images[:] != images).any()
    again = load_data("fractals", split="train", height=12, width=9, count=5, seed=3)
    for chosen in ([4], [3, 1], [1, 4, 4]):  # in whatever order they are asked for
        assert_array_equal(again.images[np.array(chosen)], images[chosen])


def test_images_of_a_folder_need_no_classes(tmp_path: Path) -> None:
    for number in range(6):
        write_image(tmp_path / ("below" if number % 2 else ".") / f"{number}.png", (number, 0, 0))
    train, test = (load_data(f"images:{tmp_path}", split=split, height=5, width=5) for split in ("train", "test"))
    assert sorted(int(image[0, 0, 0]) for data in (train, test) for image in data.images[:]) == [0, 1, 2, 3, 4, 5]
    assert (len(train), len(test), train.is_labelled) == (5, 1, False)
    with pytest.raises(DataError, match="expected 5 or more"):
        load_data(f"images:{tmp_path / 'below'}", split="test", height=5, width=5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mnist", "digits-on-photos"),
        ("", "expected one of"),
        ("folder", "expected folder:PATH"),
        ("digits:somewhere", "expected digits"),
        ("cifar10:", "expected cifar10:PATH"),
    ],
)
def test_a_bad_specification_says_what_is_expected(spec: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        load_data(spec, split="test", height=8, width=8)


def test_the_specifications_are_listed() -> None:
    assert list_data() == (
        "cifar10:PATH", "cifar100:PATH", "digits", "digits-on-photos", "folder:PATH", "fractals", "imagenet:PATH",
        "images:PATH", "synthetic",
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"count": 0}, {"height": 0}, {"seed": -1}, {"split": "all"}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        load_data("synthetic", **{"split": "test", "height": 8, "width": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["synthetic", "fractals", "digits-on-photos"])
@pytest.mark.parametrize(("count", "side"), [(10**22, 8), (8, 2**31 - 1)])
def test_more_than_memory_holds_is_refused_before_it_is_drawn(spec: str, count: int, side: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} images of .* pixels take \d+ bytes, .* expected fewer \(--count\)"):
        load_data(spec, split="train", height=side, width=side, count=count)


def test_a_folder_with_splits(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "cat" / "a.png", (255, 0, 0))
    write_image(tmp_path / "train" / "dog" / "b.png", (0, 255, 0))
    write_image(tmp_path / "val" / "cat" / "c.png", (0, 0, 255))
    (tmp_path / "val" / "dog").mkdir()
    (tmp_path / "val" / "cat" / "notes.txt").write_text("not an image")
    train = load_data(f"folder:{tmp_path}", split="train", height=3, width=3)
    test = load_data(f"folder:{tmp_path}", split="test", height=3, width=3)
    assert train.class_names == test.class_names == ("cat", "dog")
    assert_array_equal(train.labels, [0, 1])
    assert_array_equal(train.batch([1])[0, :, 1, 1], [0, 1, 0])
    assert_array_equal(test.batch([0])[0, :, 1, 1], [0, 0, 1])


def test_a_folder_without_splits_holds_out_every_fifth_image(tmp_path: Path) -> None:
    for number in range(7):
        write_image(tmp_path / "one" / f"{number}.png", (number, 0, 0))
    write_image(tmp_path / "two" / "0.png", (9, 0, 0))
    train = load_data(f"folder:{tmp_path}", split="train", height=5, width=5)
    test = load_data(f"folder:{tmp_path}", split="test", height=5, width=5)
    assert_array_equal(train.images[:][:, 0, 2, 2], [0, 1, 2, 3, 5, 6, 9])
    assert_array_equal(test.images[:][:, 0, 2, 2], [4])


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        load_data(f"folder:{tmp_path / 'nowhere'}", split="test", height=3, width=3)
    with pytest.raises(DataError, match="no images for train"):
        load_data(f"folder:{tmp_path}", split="train", height=3, width=3)


def test_a_broken_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_image(tmp_path / name / "broken.png", (1, 2, 3))
    data = load_data(f"folder:{tmp_path}", split="train", height=3, width=3)
    (tmp_path / "one" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"broken\.png"):
        data.batch([0])


def test_images_and_labels_must_be_as_many() -> None:
    with pytest.raises(UsageError, match="2 images but 3 labels"):
        DataSet(
            name="uneven",
            images=np.zeros((2, 3, 1, 1), np.uint8),
            labels=np.zeros(3, np.int64),
            class_names=("only",),
        )


def test_choosing_is_a_reproducible_sample_without_repeats() -> None:
    chosen = choose(100, count=17, seed=5)
    assert_array_equal(chosen, choose(100, count=17, seed=5))
    assert len(set(chosen)) == 17
    assert_array_equal(choose(4, count=9, seed=0), [0, 1, 2, 3])


def test_resizing_by_hand() -> None:
    row = np.array([[[[0, 100]]]], np.uint8)
    # four pixels: centres at -0.25, 0.25, 0.75, 1.25 of the two, clipped to them
    assert_array_equal(resize_bilinear(row, height=2, width=4), [[[[0, 25, 75, 100], [0, 25, 75, 100]]]])
    assert_array_equal(resize_bilinear(row, height=1, width=1), [[[[50]]]])
    assert_array_equal(resize_bilinear(row[..., :1], height=1, width=3), [[[[0, 0, 0]]]])
