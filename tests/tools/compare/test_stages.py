"""Both stages on a network of three layers; nothing is judged by its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.algorithms import Algorithms
from clprune.container.model import load_model
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.errors import DataError, UsageError
from clprune.opencl import Session
from tests.training.networks import MICRO, network_of
from tools.compare.data import cached_data
from tools.compare.experiment import Experiment
from tools.compare.frame import MODELS, RUNS, TIMES
from tools.compare.journal import read_rows
from tools.compare.variants import Variant

VARIANTS = tuple(Variant.parse(text) for text in ("filter", "bcbp-4x1", "wavefront-2x1-permute", "unstructured"))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    cfg = tmp_path / "dense.cfg"
    cfg.write_text(MICRO)
    network = load_network(cfg)
    write_weights(tmp_path / "dense.weights", network, random_weights(network, seed=1))
    return Experiment(
        cfg=cfg, data="synthetic", dense=tmp_path / "dense.weights", images=32, held_out=20, epochs=1, batch=16
    )


def silent(text: str) -> None:
    """Progress that nobody wants."""


def test_a_comparison_is_trained_resumed_and_measured(
    experiment: Experiment, tmp_path: Path, device_context: Session
) -> None:
    pytest.importorskip("torch")
    from tools.compare.measure import Timing, kept_models, measure_group, missing_models
    from tools.compare.retrain import all_runs, retrain_all

    work = tmp_path / "work"
    runs = all_runs(VARIANTS, (0.5,), seeds=2)
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4
    retrain_all(experiment, runs[:6], work=work, say=silent)
    first = read_rows(work / RUNS)
    retrain_all(experiment, runs, work=work, say=silent)
    rows = read_rows(work / RUNS)
    assert rows[:6] == first
    assert [row["variant"] for row in rows] == [str(run.variant) for run in runs]
    for row in rows:
        assert 0.4 < row["kept_share"] < 0.8  # the first layer, a quarter of the weights, stays
        assert 0 <= row["accuracy"] <= 1

    models = kept_models(rows, work / MODELS)
    assert len(models) == 4
    timing = Timing(batch=2, rounds=2, algorithms=Algorithms())
    assert missing_models(models, device_context, timing, work=work) == models
    dense = load_model(experiment.cfg, batch=2)
    measure_group(device_context, dense, models, timing, work=work, experiment=experiment.key)
    assert missing_models(models, device_context, timing, work=work) == {}
    for row in read_rows(work / TIMES):
        assert row["time_ms"] > 0
        assert row["conv_time_ms"] > 0
        assert row["imbalance"] >= 1
        assert row["groups_per_unit"] > 0
    assert read_rows(work / TIMES)[1]["imbalance"] == 1  # bcbp


def test_rows_of_another_recipe_are_not_mixed_in(experiment: Experiment, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tools.compare.retrain import all_runs, retrain_all

    (tmp_path / RUNS).write_text('{"experiment": "another"}\n')
    with pytest.raises(DataError, match="other settings"):
        retrain_all(experiment, all_runs(VARIANTS, (0.5,), seeds=1), work=tmp_path, say=silent)


def test_the_key_follows_contents_not_paths(experiment: Experiment, tmp_path: Path) -> None:
    moved = tmp_path / "moved.cfg"
    moved.write_bytes(experiment.cfg.read_bytes())
    same = Experiment(**{**vars(experiment), "cfg": moved})
    assert same.key == experiment.key
    assert Experiment(**{**vars(experiment), "epochs": 2}).key != experiment.key
    assert Experiment(**{**vars(experiment), "distillation": 0.5}).key != experiment.key
    assert Experiment(**{**vars(experiment), "fresh": True}).key != experiment.key
    moved.write_text(MICRO + "\n")
    assert same.key != experiment.key
    with pytest.raises(UsageError, match="at least one batch"):
        Experiment(**{**vars(experiment), "images": 4})


def test_fresh_images_are_drawn_for_every_epoch(experiment: Experiment, tmp_path: Path) -> None:
    from tools.compare.retrain import prepare

    fresh = replace(experiment, data="digits-on-photos", fresh=True, images=8, batch=4, held_out=4)
    images = prepare(fresh, work=tmp_path, say=silent).images
    first, second = (images.epoch(number).images[np.arange(8)] for number in (0, 1))
    assert not np.array_equal(first, second)
    kept = prepare(replace(fresh, fresh=False), work=tmp_path, say=silent).images
    assert kept.epoch(1) is kept


def test_images_are_drawn_once(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    first = cached_data(tmp_path, "synthetic", network, split="train", count=12)
    (kept,) = tmp_path.glob("images-train-*.npz")
    written = kept.stat().st_mtime_ns
    again = cached_data(tmp_path, "synthetic", network, split="train", count=12)
    assert kept.stat().st_mtime_ns == written
    assert_array_equal(first.images[:], again.images[:])
    assert first.class_names == again.class_names
    assert again.epoch(3) is again
    kept.write_bytes(b"no archive")
    with pytest.raises(DataError, match="remove the file"):
        cached_data(tmp_path, "synthetic", network, split="train", count=12)
