"""The composed data set: the same on every machine, no handwriting in both splits, fresh in every epoch."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.data import DataSet, load_data
from clprune.data import digits_on_photos as composer

COUNT = 200


def originals(split: str = "train") -> composer.Originals:
    """Originals that no file is needed for: 50 digits and one photograph of whole numbers."""
    digits = np.arange(50 * 64).reshape(50, 8, 8) * 7919 % 1009 % 17
    rows, columns = np.mgrid[0:70, 0:160]
    photo = np.stack([rows * 3 % 256, columns, (rows + columns) % 256], axis=-1).astype(np.uint8)
    return composer.prepare(digits, np.arange(50) % 10, [photo], split=split)


def load(split: str, **options: int) -> DataSet:
    pytest.importorskip("sklearn")
    return load_data("digits-on-photos", split=split, height=32, width=32, count=COUNT, **options)  # type: ignore[arg-type]


def test_images_do_not_depend_on_the_machine() -> None:
    images, labels = composer.compose(originals(), count=150, seed=3, stream=1)
    assert images.shape == (150, 3, 32, 32) and images.dtype == np.uint8
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "7099724655949af15e5b7ce7f1204f1fd104b140c544e8548d2a180b328fbeb5"


def test_a_longer_set_begins_with_the_images_of_a_shorter_one() -> None:
    short, _ = composer.compose(originals(), count=30, seed=0, stream=0)
    long, _ = composer.compose(originals(), count=composer.BLOCK_IMAGES + 3, seed=0, stream=0)
    assert_array_equal(long[:30], short)


def test_no_original_is_in_both_splits_and_none_is_lost() -> None:
    train, test = composer.split_originals(1797)
    assert len(test) == 359
    assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))


def test_the_splits_hold_different_digits_and_different_parts_of_the_photographs() -> None:
    train, test = originals("train"), originals("test")
    assert len(train.labels) == 40 and len(test.labels) == 10
    kept = {stencil.tobytes() for stencil in train.stencils}
    assert not kept & {stencil.tobytes() for stencil in test.stencils}
    # green is the column of the photograph: left of 70 % of 160 for training, the rest for testing
    assert (train.crops[0] >> 8 & 255).max() == 111
    assert (test.crops[0] >> 8 & 255).min() == 112


def test_the_test_set_stays_when_the_seed_moves_and_the_training_set_does_not() -> None:
    assert_array_equal(load("test", seed=0).images, load("test", seed=1).images)
    assert (load("train", seed=0).images[:8] != load("train", seed=1).images[:8]).any(axis=(1, 2, 3)).all()


def test_every_epoch_has_fresh_images_that_can_be_made_again() -> None:
    data = load("train")
    first, again = data.epoch(1), load("train").epoch(1)
    assert_array_equal(first.images, again.images)
    assert_array_equal(data.epoch(0).images, data.images)
    assert (first.images[:] != data.images[:]).any(axis=(1, 2, 3)).all()


def test_all_classes_appear_and_the_batch_is_what_a_network_takes() -> None:
    data = load("test")
    assert set(data.labels) == set(range(10))
    assert data.class_names == tuple("0123456789")
    batch = data.batch([3, 1])
    assert batch.shape == (2, 3, 32, 32) and batch.dtype == np.float32
    assert_array_equal(batch[1], data.images[1:2][0].astype(np.float32) / 255)
    assert batch.min() >= 0 and batch.max() <= 1


def test_a_stencil_without_ink_leaves_no_digit() -> None:
    blank = composer.Originals(
        stencils=np.zeros((1, 40, 40), np.float32), labels=np.array([7]), crops=(np.zeros((32, 32), np.uint32),)
    )
    images, labels = composer.compose(blank, count=5, seed=0, stream=0)
    assert_array_equal(labels, [7] * 5)
    assert images.max() < 255
