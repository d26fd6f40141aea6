"""Accuracy of pruned and coded networks on other held-out images than those that all comparisons share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clprune.container.read import read_packed
from clprune.darknet.fold import fold_network
from clprune.training import evaluate, load_module
from clprune.workflow.inputs import as_data
from tools.compare.coded_runs import CodedSetting
from tools.compare.codings import CODINGS, DENSE, PRUNED, file_name
from tools.compare.journal import Row, append_row, read_rows

#: Of the held-out images that are no other comparison's; the originals are the same.
OTHER_SEED = 78
#: In the folder of work: a line for each network that was evaluated on them.
OTHERS = "others.jsonl"


def measure_others(setting: CodedSetting, rows: Sequence[Row]) -> None:
    """Evaluate the dense network and those of `rows` whose activations are not coded, but what was done before."""
    path = setting.work / OTHERS
    done = {(row["seed"], row["name"]) for row in read_rows(path)}
    experiment = setting.experiment
    count = experiment.other_held_out
    others = as_data(experiment.data, setting.network, split="test", seed=OTHER_SEED, count=count)
    folded, _ = fold_network(setting.network, setting.dense)
    plain = {PRUNED, *(coded.name for coded in CODINGS if not coded.activations)}
    for seed, name in [(0, DENSE), *((row["seed"], row["name"]) for row in rows if row["name"] in plain)]:
        if (seed, name) in done:
            continue
        network, weights = setting.network, setting.dense
        if name != DENSE:
            network, weights = folded, read_packed(setting.work / file_name(name, seed), folded)
        accuracy = evaluate(load_module(network, weights), others).accuracy
        append_row(path, {"seed": seed, "name": name, "accuracy": accuracy, "images": len(others)})


def with_others(rows: Sequence[Row], *, work: Path) -> list[dict[str, Any]]:
    """`rows` with what `measure_others` found: their accuracy and the dense network's."""
    found = {(row["seed"], row["name"]): row for row in read_rows(work / OTHERS)}
    dense = found.get((0, DENSE))
    joined = []
    for row in rows:
        facts = {}
        if dense is not None and (other := found.get((row["seed"], row["name"]))) is not None:
            facts = {"other_accuracy": other["accuracy"], "other_dense_accuracy": dense["accuracy"]}
            facts["other_images"] = other["images"]
        joined.append({**row, **facts})
    return joined
