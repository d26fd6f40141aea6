"""Folders of images: which are classes and in what order, what is left out, and layouts that are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from clprune.darknet.names import read_names
from clprune.data import DataSet, load_data
from clprune.dataset import DataWarning
from clprune.errors import DataError, ImageError
from clprune.image import ImageOptions
from clprune.progress import Progress


def write(root: Path, *names: str) -> None:
    """Pictures of these names; one that begins with `!` is broken."""
    for number, name in enumerate(names):
        path = root / name.removeprefix("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path, format="png")
        if name.startswith("!"):
            path.write_bytes(path.read_bytes()[:50])


def load(root: Path, split: Any, **options: Any) -> DataSet:
    return load_data(f"folder:{root}", split=split, height=4, width=4, **options)


def test_test_images_keep_the_indices_of_training(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/1.png", "test/c/1.png")
    test = load(tmp_path, "test")
    assert test.class_names == ("a", "b", "c")
    assert_array_equal(test.labels, [1, 2])


def test_numbers_are_in_natural_order(tmp_path: Path) -> None:
    names = [str(number) for number in range(11)] + ["x2y", "x10y"]
    write(tmp_path, *(f"{name}/1.png" for name in names))
    assert load(tmp_path, "train").class_names == tuple(names)


def test_an_accent_of_two_characters_is_the_same_class(tmp_path: Path) -> None:
    write(tmp_path, "train/cafz/1.png", "train/caf\u00e9/1.png", "test/cafe\u0301/1.png", "test/cafz/1.png")
    data = load(tmp_path, "test")
    assert data.class_names == ("cafz", "caf\u00e9")  # in the order of the composed letters
    assert_array_equal(data.labels, [0, 1])
    names = tmp_path / "a.names"
    names.write_text("cafe\u0301\ncafz\n")
    assert_array_equal(data.in_order_of(read_names(names), path=names).labels, [1, 0])


@pytest.mark.parametrize(
    ("litter", "count"),
    [
        (".git/objects/1.png", "1 hidden"),
        (".ipynb_checkpoints/a-checkpoint.png", "1 hidden"),
        ("__MACOSX/a/._1.png", "1 hidden"),
        ("@eaDir/1.png", "1 hidden"),
        ("$RECYCLE.BIN/1.png", "1 hidden"),
        ("a/._1.png", "1 hidden"),
        ("a/.ipynb_checkpoints/1.png", "1 hidden"),
        ("stray.png", "1 images in no class's folder"),
    ],
)
def test_litter_is_left_out_and_counted(tmp_path: Path, litter: str, count: str) -> None:
    write(tmp_path, "a/1.png", "b/1.png", litter)
    with pytest.warns(DataWarning, match=rf"2 images of 2 classes; left out: {count}$"):
        data = load(tmp_path, "train")
    assert data.class_names == ("a", "b")
    assert len(data) == 2


@pytest.mark.parametrize("name", ["b/\x1b[31m.\x1bpng", "b/1.png\ufeff", "b/x.\x85"])
def test_what_is_said_of_odd_names_is_printable(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / name).write_text("no image")
    with pytest.warns(DataWarning) as caught:
        load(tmp_path, "train")
    assert [str(item.message).isprintable() for item in caught] == [True]


def test_other_files_are_counted_by_their_suffix(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    for name in ("a/notes.txt", "b/more.TXT", "README", "a/1.heic"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "logs").mkdir()
    with pytest.warns(DataWarning, match=r"left out: 1 \.heic, 2 \.txt, 1 folders without images, 1 without suffix$"):
        load(tmp_path, "train")


@pytest.mark.parametrize("suffix", ["jfif", "pgm", "tif", "TIFF", "JPG", "jpe", "pbm"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"a/1.{suffix}", f"b/1.{suffix}")
    assert len(load(tmp_path, "train")) == 2


@pytest.mark.parametrize("train", ["train", "Train", "training", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Test", "val", "validation"])
def test_names_of_splits(tmp_path: Path, train: str, test: str) -> None:
    write(tmp_path, *(f"{split}/{name}/1.png" for split in (train, test) for name in "ab"), f"{test}/b/2.png")
    assert_array_equal(load(tmp_path, "train").labels, [0, 1])
    assert_array_equal(load(tmp_path, "test").labels, [0, 1, 1])


@pytest.mark.parametrize("wrap", ["train", "Train", "images", "data/images"])
def test_a_lone_folder_round_the_classes(tmp_path: Path, wrap: str) -> None:
    write(tmp_path, *(f"{wrap}/{name}/{number}.png" for name in "ab" for number in range(5)))
    with pytest.warns(DataWarning, match=f"of its folders only {wrap.split('/', maxsplit=1)[0]} is used"):
        train = load(tmp_path, "train")
    assert train.class_names == ("a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (len(train), len(load(tmp_path, "test"))) == (8, 2)


@pytest.mark.filterwarnings("ignore")
def test_splits_in_a_lone_folder(tmp_path: Path) -> None:
    write(tmp_path, *(f"photos/{split}/{name}/1.png" for split in ("train", "test") for name in "ab"))
    assert len(load(tmp_path, "test")) == len(load(tmp_path, "train")) == 2


def test_a_lone_test_folder_is_all_held_out(tmp_path: Path) -> None:
    write(tmp_path, "test/a/1.png", "test/b/1.png", "test/b/2.png")
    with pytest.warns(DataWarning, match="no training images beside it"):
        assert_array_equal(load(tmp_path, "test").labels, [0, 1, 1])
    with pytest.raises(DataError, match=r"no images for train: expected one sub-folder .*PATH/train/CLASS"):
        load(tmp_path, "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "2.png"], "no images for train: .*found 2 images in no class's folder"),
        (["images/1.png", "images/2.png"], "a single class, images"),
        (["train/1.png", "train/2.png"], "a single class, train"),
        (["train/1.png", "test/2.png"], "no images for train: .*found 1 images in no class's folder"),
        (["train/a/1.png", "train/b/1.png", "extra/1.png"], "found extra, train in it"),
        (["train/a/1.png", "test/a/1.png"], "a single class, a"),
        ([".hidden/1.png"], "no images for train"),
        (["a /1.png", "b/1.png"], "class 'a ': expected a printable name"),
        (["a\nb/1.png", "b/1.png"], r"class 'a\\nb': expected a printable name"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_layouts_that_are_not_understood(tmp_path: Path, names: list[str], message: str) -> None:
    write(tmp_path, *names)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, "train")
    assert "\n" not in str(caught.value)
    if "printable" not in message:
        assert "PATH/CLASS/IMAGE" in str(caught.value)
        assert "PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE" in str(caught.value)


def test_too_few_images_to_hold_any_out(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    assert len(load(tmp_path, "train")) == 2
    with pytest.raises(DataError, match=r"2 images of 2 classes, of which every 5th .*: none for test; expected more"):
        load(tmp_path, "test")


def test_folders_within_a_class_are_said(tmp_path: Path) -> None:
    """They may be classes themselves, one folder too deep."""
    write(tmp_path, "animals/cat/1.png", "animals/dog/1.png", "others/1.png")
    with pytest.warns(DataWarning, match="images lie in folders within animals, and count as one class each"):
        assert load(tmp_path, "train").class_names == ("animals", "others")


def test_folders_without_end(tmp_path: Path) -> None:
    """Neither the way to the classes nor that to an image is followed for ever."""
    place = "/".join("d" * 900)
    (tmp_path / place).mkdir(parents=True)
    with pytest.raises(DataError, match=r"no images for train: .* 1 more than 32 folders deep"):
        load(tmp_path, "train")
    write(tmp_path, f"{'/'.join('d' * 31)}/1.png")
    with warnings.catch_warnings(), pytest.raises(DataError, match="a single class, d"):
        warnings.simplefilter("ignore")
        load(tmp_path, "train")


def test_test_classes_without_training_images_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/z/1.png")
    with pytest.raises(DataError, match=r"test: classes of no training image: z; expected only those 2 .*, a, b"):
        load(tmp_path, "test")


def test_what_else_lies_beside_the_splits_is_said(tmp_path: Path) -> None:
    write(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "test", "extra") for name in "ab"))
    with pytest.warns(DataWarning, match="only train and test are used, not extra"):
        load(tmp_path, "train")


def test_broken_files_are_left_out_said_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "!a/2.png", "a/3.png", "b/1.png", "!b/2.png")
    told: list[Progress] = []
    with pytest.warns(
        DataWarning, match=r"2 of 5 images cannot be read and are left out \(--strict stops\): .*a/2\.png"
    ):
        data = load(tmp_path, "train", progress=told.append)
    assert_array_equal(data.labels, [0, 0, 1])
    assert (told[-1].done, told[-1].total, told[-1].place) == (5, 5, "5/5 images")
    with pytest.raises(ImageError, match=r"2 of 5 images cannot be read \(strict\): .*a/2\.png"):
        load(tmp_path, "train", options=ImageOptions(strict=True))


def test_a_split_of_broken_files_is_an_error(tmp_path: Path) -> None:
    """Not an accuracy of nothing."""
    write(tmp_path, "train/a/1.png", "train/b/1.png", "!test/a/1.png", "!test/b/1.png")
    with pytest.raises(ImageError, match=r"2 of 2 images cannot be read \(expected any\): .*a/1\.png"):
        load(tmp_path, "test")


def test_removing_what_was_broken_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(10)))
    (tmp_path / "a" / "2.png").write_bytes(b"broken")
    with pytest.warns(DataWarning, match="1 of 20"):
        before = [load(tmp_path, split, count=3, seed=1) for split in ("train", "test")]
    (tmp_path / "a" / "2.png").unlink()
    after = [load(tmp_path, split, count=3, seed=1) for split in ("train", "test")]
    assert [data.images.paths for data in before] == [data.images.paths for data in after]  # type: ignore[union-attr]


def test_broken_files_of_splits(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "!test/b/1.png", "test/b/2.png")
    with pytest.warns(DataWarning, match="1 of 3 images"):
        assert_array_equal(load(tmp_path, "test").labels, [0, 1])
    (tmp_path / "train/b/1.png").write_bytes(b"")  # all of a class: it stays a class
    with pytest.warns(DataWarning, match="1 of 2 images"):
        assert load(tmp_path, "train").class_names == ("a", "b")


def test_grey_is_read_as_infer_reads_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
    data = load(tmp_path, "train", channels=1)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    assert_array_equal(data.images[:], np.stack([expected[None]] * 2))


def test_composed_images_become_grey_in_every_epoch() -> None:
    rgb = load_data("synthetic", split="train", height=4, width=5, count=3)
    grey = load_data("synthetic", split="train", height=4, width=5, count=3, channels=1)
    for image, plane in zip(rgb.images[:], grey.images[:], strict=True):
        assert_array_equal(plane[0], np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")))
    pytest.importorskip("sklearn")
    photos = load_data("digits-on-photos", split="train", height=8, width=8, count=3, channels=1)
    assert photos.epoch(1).images[:].shape == photos.images[:].shape == (3, 1, 8, 8)
    assert (photos.epoch(1).images[:] != photos.images[:]).any()


def test_names_of_a_model_order_the_classes(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    data = load(tmp_path, "train")
    ordered = data.in_order_of(("dog", "fox", "cat"), path="m.names")
    assert_array_equal(ordered.labels, [2, 0])
    assert ordered.class_names == ("dog", "fox", "cat")
    with pytest.raises(DataError, match=r"m\.names: has no class 'cat' of folder:.*: expected all of its names"):
        data.in_order_of(("dog", "fox"), path="m.names")
    with pytest.warns(DataWarning, match="no class is named in m.names; they are taken in order"):
        assert_array_equal(data.in_order_of(("tench", "shark"), path="m.names").labels, [0, 1])
