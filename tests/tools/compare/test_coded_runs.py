"""One seed of a comparison of codings on a network of a few weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="these runs train")

from clprune.container.read import read_packed
from clprune.darknet.fold import fold_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.opencl import Session
from tests.training.networks import network_of
from tools.compare.coded_others import OTHERS, measure_others
from tools.compare.coded_runs import do_run, prepare_coded
from tools.compare.codings import CODINGS, PRUNED, CodedRun, file_name
from tools.compare.experiment import CodedExperiment
from tools.compare.journal import read_rows


def test_a_network_is_pruned_coded_and_measured(tmp_path: Path, device_context: Session) -> None:
    network = network_of(tmp_path)
    dense = tmp_path / "dense.weights"
    write_weights(dense, network, random_weights(network, seed=1))
    experiment = CodedExperiment(
        cfg=network.path, data="synthetic", dense=dense, sparsity=0.5, images=32, held_out=20, other_held_out=10,
        epochs=1, steps=2, step_epochs=1, learning_rate=0.03, distilled_epochs=1, distilled_rate=0.01,
        distillation=0.5, temperature=2.0, distilled_dropout=0.3, coded_rate=0.005, batch=16, precision="float32",
    )  # fmt: skip
    setting = prepare_coded(experiment, work=tmp_path / "work")
    run = CodedRun(seed=0, pruned_seed=0, name=PRUNED)
    rows = []
    for name in (PRUNED, *(coded.name for coded in CODINGS)):
        row = do_run(setting, replace(run, name=name), device=device_context.info.selector)
        assert ("accuracy_by_labels" in row) == (name == PRUNED)
        assert ("accuracy_as_coded" in row) == (name != PRUNED)
        rows.append({"seed": 0, "name": name, **row})
    assert "accuracy_as_coded" not in do_run(setting, replace(run, seed=1, name="int8"), device=None)

    # half of all weights but the 6 * 27 of the first layer
    total = 6 * 27 + 10 * 54 + 17 * 160 + 10 * 17
    assert rows[0]["float32_bytes"] == 4 * total
    assert rows[0]["kept_share"] == pytest.approx((6 * 27 + (total - 6 * 27) / 2) / total, abs=0.002)
    folded, _ = fold_network(setting.network, setting.dense)
    coded = read_packed(setting.work / file_name("4-bit codebook", 0), folded)
    assert {layer.coding.bits for layer in coded.layers if layer is not None and layer.coding is not None} == {4}

    for _ in range(2):  # the second time nothing is left to do
        measure_others(setting, rows)
    found = read_rows(setting.work / OTHERS)
    assert [row["name"] for row in found] == ["dense", "float32", "int8", "4-bit codebook"]
    assert {row["images"] for row in found} == {10}
