"""The page of wsp, bwsp and abwsp: verdicts by hand, and choices that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="choosing needs PyTorch")

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.errors import DataError
from tests.tools.compare.rows import run, timed
from tests.training.networks import MICRO
from tools.compare.choices import choose_all, chosen_variants, read_choices, time_all
from tools.compare.experiment import Experiment
from tools.compare.retrain import prepare
from tools.compare.variants import Variant
from tools.compare.winograd_page import winograd_page

CHOICE = {
    "layer": 3,
    "variant": "wsp",
    "reason": "wsp's loss is 0.1 lower and it is 0.2 ms faster",
    "wsp": {"time_ms": 1.0, "loss": 0.5, "accuracy": 0.8},
    "bwsp": {"time_ms": 1.2, "loss": 0.6, "accuracy": 0.7},
}


def test_goals_are_judged_and_choices_shown() -> None:
    accuracies = {"wsp": 0.91, "bwsp": 0.89, "abwsp": 0.9}
    runs = [run(method, 0.75, accuracy) for method, accuracy in accuracies.items()]
    times = [timed("wsp", 0.75, 0.5), timed("bwsp", 0.75, 0.4), timed("abwsp", 0.75, 0.48)]
    page = winograd_page(runs, times, {"0.75": [CHOICE]})
    assert "| abwsp at least as accurate as bwsp | 75 % | +1.00 points | holds |" in page
    assert "| abwsp's time of bwsp's, at most 1.1 | 75 % | 1.200 | **does not hold** |" in page
    assert "| bwsp faster than wsp: its time of wsp's | 75 % | 0.800 | holds |" in page
    assert "| dense | 0 % | 100.0 % | 95.00 | 1 | 10.000 | 1.000 | 8.000 | 1.000 | 0.889 |  |  |" in page
    assert "| 75 % | 3 | wsp | 1.0000 | 1.2000 | 0.5000 | 0.6000 |" in page


def test_a_page_without_times_and_choices() -> None:
    page = winograd_page([run("wsp", 0.9, 0.5)], [], {})
    assert "What abwsp chose" not in page
    assert "| wsp | 90 % |" in page
    assert "images, from the labels alone, dropout times 1, seeds" in page
    taught = winograd_page([{**run("wsp", 0.9, 0.5), "distillation": 0.75, "temperature": 2.0}], [], {})
    assert "images, 75 % of the loss from the dense network's answers (temperature 2), dropout" in taught


def test_other_settings_stand_beside_the_same_variant() -> None:
    longer = [{**run("wsp", 0.75, 0.92), "epochs": 24}, run("wsp", 0.5, 0.94)]
    page = winograd_page([run("wsp", 0.75, 0.9)], [], {}, otherwise={"trained longer": longer})
    assert "| trained longer | wsp | 75 % | 24 of " in page
    assert "| 92.00 ± 0.00 | 1 | 90.00 ± 0.00 |" in page
    assert "| 94.00 ± 0.00 | 1 |  |" in page


def test_choices_are_kept_and_not_made_twice(tmp_path: Path) -> None:
    cfg, work = tmp_path / "dense.cfg", tmp_path / "work"
    cfg.write_text(MICRO)
    network = load_network(cfg)
    write_weights(tmp_path / "dense.weights", network, random_weights(network, seed=1))
    work.mkdir()
    experiment = Experiment(
        cfg=cfg, data="synthetic", dense=tmp_path / "dense.weights", images=32, held_out=20, epochs=1, batch=16
    )
    setting = prepare(experiment, work=work, say=lambda text: None)
    asked: list[str] = []
    said: list[str] = []

    def times(network: object, weights: object, plan: dict[int, object]) -> dict[int, float]:
        asked.append("times")
        return dict.fromkeys(plan, 1.0)

    variant = Variant.parse("abwsp-4x1")
    with pytest.raises(DataError, match="run the stage `time` first"):
        choose_all(setting, variant, (0.5,), say=said.append)
    for _ in range(2):
        time_all(network, setting.dense, variant, (0.5,), work=work, layer_times=times, say=lambda text: None)  # type: ignore[arg-type]
        choose_all(setting, variant, (0.5,), say=said.append)
    assert len(said) == 1
    assert len(asked) == 2  # once for each variant
    kept = chosen_variants(read_choices(work / "choices.json"))
    assert kept["0.5"][1] in ("wsp", "bwsp")
    assert said[0].startswith(f"50 %, layer 1: {kept['0.5'][1]}, because wsp's loss is")


def test_damaged_choices_are_named(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    assert read_choices(path) == {}
    path.write_text("[1]")
    with pytest.raises(DataError, match="expected choices"):
        read_choices(path)


def test_variants_name_their_tile() -> None:
    variant = Variant.parse("wsp-8x1-winograd4-permute")
    assert (variant.method, str(variant.unit), variant.winograd, variant.permute) == ("wsp", "8x1", 4, True)
    assert str(variant) == "wsp-8x1-winograd4-permute"
