"""The page of codings, from rows by hand: nothing is trained."""

from __future__ import annotations

from typing import Any

import pytest

from tools.bench.report import render_section
from tools.compare.coded_page import COLUMNS, coded_section, coded_table
from tools.compare.codings import CODINGS, PRUNED

OPTIONS = {
    "sparsity": 0.9, "steps": 3, "step_epochs": 4, "epochs": 40, "images": 15_000, "distillation": 0.0,
    "distilled_epochs": 0, "temperature": 2.0, "distilled_dropout": 0.3,
}  # fmt: skip


def row(name: str, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    facts = {"name": name, "seed": seed, "pruned_seed": seed, "accuracy": accuracy}
    return {**facts, "kept_share": 0.1, "size_bytes": 1000, **more}


def pruned(seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    return row(PRUNED, seed, accuracy, dense_accuracy=0.96, float32_bytes=9000, held_out=2400, **more)


def cells_of(rows: list[dict[str, Any]], name: str) -> dict[str, str]:
    line = next(line for line in coded_table(rows) if line[0] == name)
    return dict(zip(COLUMNS, line, strict=True))


def test_table_of_accuracies() -> None:
    rows = [
        pruned(0, 0.95),
        row("int8", 0, 0.954, accuracy_as_coded=0.94),
        row("int8", 1, 0.958, accuracy_as_coded=0.95),
        row("4-bit codebook", 0, 0.94, accuracy_as_coded=0.9),
    ]
    assert [line[0] for line in coded_table(rows)] == [
        "dense float32",
        "pruned, float32",
        "pruned, int8",
        "pruned, 4-bit codebook",
    ]
    dense = cells_of(rows, "dense float32")
    assert (dense["retrained"], dense["kB"]) == ("96.00 %", "9")
    assert cells_of(rows, "pruned, int8") == {
        "weights": "pruned, int8",
        "seeds": "2",
        "epochs": str(CODINGS[0].epochs),
        "as coded": "94.50 %",
        "retrained": "95.60 %",
        "worst": "95.40 %",
        "best": "95.80 %",
        "points below dense": "0.40",
        "on others": "-",
        "goal": "<= 0.5",
        "met": "yes",
        "kept": "10.00 %",
        "kB": "1",
    }
    codebook = cells_of(rows, "pruned, 4-bit codebook")
    assert [codebook[name] for name in ("points below dense", "goal", "met")] == ["2.00", "<= 1", "no"]


def test_only_the_seed_that_was_coded_says_what_that_cost() -> None:
    rows = [pruned(0, 0.95), row("int8", 0, 0.954, accuracy_as_coded=0.94), row("int8", 1, 0.958)]
    assert cells_of(rows, "pruned, int8")["as coded"] == "94.00 %"


def test_points_on_other_images_are_below_their_dense_accuracy() -> None:
    other = {"other_dense_accuracy": 0.9, "other_images": 900}
    rows = [pruned(0, 0.95, other_accuracy=0.89, **other), pruned(1, 0.95, other_accuracy=0.88, **other)]
    assert cells_of(rows, "pruned, float32")["on others"] == "1.50"
    page = render_section(coded_section(rows, options=OPTIONS))
    # sqrt(0.96 * 0.04 / 2400) = 0.004, sqrt(0.9 * 0.1 / 900) = 0.01
    assert "2400 held-out images (standard error of the dense network's accuracy 0.40 points), 900 others" in page
    assert "(dense 90.00 %, standard error 1.00 points)." in page


def test_page_says_how_it_was_made() -> None:
    rows = [pruned(0, 0.95), row("int8", 0, 0.954, accuracy_as_coded=0.94)]
    page = render_section(coded_section(rows, options=OPTIONS))
    assert "90 % of the weights of all layers but the first" in page
    assert "One network pruned and retrained, then 1 seeds" in page
    assert "3 steps of pruning, 4 epochs after each and 40 after the last, of 15000 images by their labels;" in page
    assert "in the table; 2400 held-out images.\n\n| weights |" in page
    assert f"| pruned, int8 | 1 | {CODINGS[0].epochs} | 94.00 % | 95.40 % |" in page


def test_page_says_what_was_distilled() -> None:
    rows = [pruned(seed, 0.95, accuracy_by_labels=0.94) for seed in (0, 1)]
    options = {**OPTIONS, "distillation": 0.75, "distilled_epochs": 8}
    page = render_section(coded_section(rows, options=options))
    assert "2 networks pruned and retrained" in page
    assert "by their labels (accuracy then 94.00 %); 8 more, and all epochs for codes, with 75 % of the loss" in page
    assert "(temperature 2) and dropout times 0.3; epochs for each coding" in page


@pytest.mark.parametrize("coded", CODINGS, ids=lambda coded: coded.name)
def test_every_coding_has_a_row(coded: Any) -> None:
    cells = cells_of([pruned(0, 0.95), row(coded.name, 0, 0.95, accuracy_as_coded=0.9)], f"pruned, {coded.name}")
    assert cells["epochs"] == str(coded.epochs)
    assert (cells["goal"] == "-") == (coded.goal_points is None)
