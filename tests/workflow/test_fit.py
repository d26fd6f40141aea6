"""`fit` from a trained model to files, on the device: what is promised, kept, refused, and found again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clprune.container.model import Model, load_model
from clprune.dataset import DataSet
from clprune.errors import FileError, UsageError
from clprune.opencl import Session
from clprune.progress import Progress

pytest.importorskip("torch", reason="training needs PyTorch")
# what follows needs it

from clprune.darknet.network import load_network
from clprune.data import load_data
from clprune.fitting import times as fitting_times
from clprune.fitting.choice import choose, dense_ms, fastest_ms
from clprune.training.refit import Reference
from clprune.workflow.fit import fit, fit_all
from clprune.workflow.fit_result import Target
from clprune.workflow.fitter import FitSettings, Fitter
from clprune.workflow.report_page import fit_page
from tests.fitting.test_choice import make_table

pytestmark = pytest.mark.usefixtures("few_rounds")


def test_targets_are_one_of_three() -> None:
    assert Target(speed_up=2).budget(5.0) == 2.5 and Target(budget_ms=3).budget(5.0) == 3
    for wrong in ({}, {"budget_ms": 1, "speed_up": 2}, {"speed_up": 1}, {"most_loss": 0}, {"budget_ms": -1}):
        with pytest.raises(UsageError, match="expected"):
            Target(**wrong)


@pytest.mark.parametrize("lost", [0.0, 100.0], ids=["all lose little", "all lose too much"])
def test_a_dense_network_measured_faster_than_its_table_leaves_a_choice(tmp_path: Path, lost: float) -> None:
    """Small networks' times stray by more than a choice may gain."""
    table = make_table(tmp_path, 0)
    fitter: Any = SimpleNamespace(
        table=table, _dense_ms=0.5 * fastest_ms(table), _tell=lambda *_: None, _points_lost=lambda _: lost
    )
    budget_ms = Fitter._budget(fitter, Target(most_loss=1))
    assert choose(table, budget_ms=budget_ms) is not None
    assert (budget_ms == dense_ms(table)) == (lost > 1)


@pytest.mark.parametrize(
    ("factors", "taken", "attempts"),
    [
        ((1.0,), 0, 1),
        ((1.02,), 0, 1),  # within the tolerance
        ((0.8, 1.0), 1, 2),  # less time than expected: more may be spent
        ((0.8, 1.2), 0, 2),  # too much: the one before stays
        ((0.8, 0.9, 0.95), 2, 3),
        ((1.3, 1.1, 1.0), 2, 3),
        ((1.3, 0.8, 1.1), 1, 3),
        ((1.3, 1.2, 1.1), 2, 3),  # none in time: the last is what the proof speaks of
    ],
)
def test_choices_are_tried_until_one_uses_the_budget(
    tmp_path: Path, factors: tuple[float, ...], taken: int, attempts: int
) -> None:
    """Each tried takes `factors` times what it was chosen for; more time, less loss."""
    table, promised, times = make_table(tmp_path, 0), list[float](), iter(factors)
    asked_ms = 0.6 * dense_ms(table)

    def best(budget_ms: float) -> Any:
        promised.append(budget_ms)
        return SimpleNamespace(selection=len(promised) - 1, divergence=1 / budget_ms, model=None, bits={})

    known = {name: getattr(table, name) for name in ("entries", "groups", "channel_shares", "time_ms")}
    fitter: Any = SimpleNamespace(
        table=SimpleNamespace(**known, name=str),
        _best=best,
        _budget=lambda _: asked_ms,
        _try=lambda _: (dense_ms(table), asked_ms * next(times)),
    )
    assert Fitter._chosen(fitter, Target(budget_ms=asked_ms)) == {"name": str(taken), "attempts": attempts}
    assert next(times, None) is None
    for before, after, factor in zip(promised, promised[1:], factors, strict=False):
        assert after == pytest.approx(before / factor)


@pytest.mark.slow
@pytest.mark.usefixtures("few_shares")
def test_a_model_fits_and_a_second_budget_takes_no_new_table(
    device_context: Session, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "fitted"
    settings = {
        "data": "fractals", "count": 48, "tune_s": 0.0, "tries": 3, "methods": ("workgroup", "bwsp", "filter"),
        "out": out, "device": device_context,
    }  # fmt: skip
    first = fit(model, most_loss=100, epochs=1, **settings)
    assert first.is_met and len(first.losses) == 1 and first.proof.accuracy_fitted is None
    assert first.proof.largest_error < 1e-4 and first.written is not None
    facts = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert {layer["ms_from"] for layer in facts["layers"]} <= {"measured", "interpolated"}
    again = load_model(first.written[0])
    assert again.network.outputs == 10
    assert not (tmp_path / "fitted.fit.checkpoint").exists()

    def no_more(*_: object, **__: object) -> object:
        raise AssertionError("what was measured is kept")

    monkeypatch.setattr("clprune.fitting.build.measure", no_more)
    monkeypatch.setattr(Reference, "refit", no_more)
    with pytest.raises(UsageError, match="cannot be reached: the dense network takes"):
        fit(model, budget_ms=1e-6, **settings)
    with pytest.raises(FileError, match="another images"):
        fit(model, budget_ms=1, **{**settings, "count": 47})
    record = tmp_path / "fitted.fit.json"
    record.write_text(record.read_text().replace('{"name": "0 ', '{"name": "9 '))
    with pytest.raises(
        FileError, match=r"fitted\.fit\.json: chosen: '9 .*: expected a way of layer 0 that was measured"
    ):
        fit(model, most_loss=100, **settings)


@pytest.mark.slow
def test_where_judging_all_would_be_long_one_method_is_judged(
    device_context: Session, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.data.fractals.COUNT", 64)
    monkeypatch.setattr("clprune.fitting.build.MOST_JUDGED", 0)
    ways = {"0": 1.0, "50": 0.5, "75": 0.4, "87.5": 0.3, "93.75": 0.2}

    def measured(session: Session, model: Model, beside: Model | None = None) -> dict[str, object]:
        removed = max((layer.prune.sparsity for layer in model.network.matrix_layers if layer.prune), default=0.0)
        time_ms = ways[f"{100 * removed:g}"]
        layers = {str(layer.index): time_ms for layer in model.network.matrix_layers}
        dense_ms = {} if beside is None else {"beside_ms": ways["0"] * len(layers)}
        return {"whole_ms": time_ms * len(layers), "layers": layers, **dense_ms}

    monkeypatch.setattr("clprune.fitting.build.measure", measured)
    events: list[Progress] = []
    result = fit(
        model, most_loss=100, data="fractals", count=48, tune_s=0, tries=1, methods=("workgroup", "block"),
        out=tmp_path / "fitted", device=device_context, progress=events.append,
    )  # fmt: skip
    record = json.loads((tmp_path / "fitted.fit.json").read_text())
    assert any("block" in name for name in record["errors"])
    assert not any("block" in name for name in record["losses"])
    assert record["losses"]
    assert set(record["losses"]) <= {name for name in record["errors"] if "workgroup" in name}
    told = [event for event in events if event.stage == "losses"]
    assert sorted(event.place for event in told) == sorted([*record["losses"], *record["errors"]])
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert len({event.total for event in told}) == 1 and told[-1].done < told[-1].total
    choices = [way for layer in result.to_dict()["layers"] for way in (layer, *layer["runners_up"])]
    assert {way["loss_from"] for way in choices if "block" in way["choice"]} <= {"interpolated"}


@pytest.mark.slow
@pytest.mark.usefixtures("few_shares")
def test_several_budgets_are_one_page(device_context: Session, model: Path) -> None:
    data = load_data("synthetic", split="train", height=11, width=13, count=40)
    settings = FitSettings(
        model, data=data, held_out=data, tune_s=0, tries=1, methods=("workgroup",), device=device_context
    )
    results = fit_all(settings, [Target(budget_ms=100), Target(most_loss=50)])
    assert [result.is_met for result in results] == [True, True]
    # with time enough nothing is pruned
    assert all(layer.chosen.options is None for layer in results[0].layers) and results[0].proof.agreement == 1
    assert results[0].proof.points_lost == 0
    page = fit_page(results)
    assert page.count("<h2>") == 2 and "100" in page


def test_files_in_the_way_are_refused_before_anything_is_measured(model: Path, tmp_path: Path) -> None:
    (tmp_path / "few.weights").write_bytes(b"")
    for ways in ({"bits": (8,), "methods": ("workgroup",)}, {"methods": ("bwsp",)}):
        with pytest.raises(UsageError, match=r"few\.weights would be loaded in place of few\.safetensors"):
            fit(model, most_loss=1, data="fractals", out=tmp_path / "few", **ways)
    with pytest.raises(UsageError, match="would replace"):
        fit(model, most_loss=1, data="fractals", methods=("workgroup",), out=model.with_suffix(""))


@pytest.mark.slow
@pytest.mark.usefixtures("few_shares")
def test_weights_are_stored_in_fewer_bits_where_it_pays(device_context: Session, model: Path, tmp_path: Path) -> None:
    result = fit(
        model, most_loss=100, data="fractals", count=32, tune_s=0.0, tries=2, methods=("workgroup",), bits=(16, 8),
        epochs=1, out=tmp_path / "few", device=device_context,
    )  # fmt: skip
    names = [str(layer.chosen) for layer in result.layers]
    codings = [None if values is None else values.coding for values in result.model.weights.layers]
    assert [name.endswith("bits") for name in names] == [codings[layer.layer] is not None for layer in result.layers]
    assert result.proof.largest_error < 1e-4 and result.written is not None
    times = json.loads((tmp_path / "few.fit.json").read_text())["times"]
    assert {"dense", "dense 16 bits", "workgroup 0.75 8 bits"} <= set(times)


def test_images_without_labels_are_learned_from_answers_alone(model: Path) -> None:
    from clprune.training import Recipe, train

    data = DataSet.unlabelled(
        name="plain", images=load_data("synthetic", split="train", height=11, width=13, count=8).images
    )
    with pytest.raises(UsageError, match="plain has no labels: expected images with classes, or distillation 1"):
        train(load_network(model), data, Recipe(epochs=1))


def test_a_recipe_learns_from_answers_alone_where_there_are_no_labels(model: Path) -> None:
    from clprune.training import Recipe

    images = load_data("synthetic", split="train", height=11, width=13, count=8)
    plain = DataSet.unlabelled(name="plain", images=images.images)
    dense, recipe = load_model(model), Recipe(epochs=1, distillation=0.5)
    settings = FitSettings(dense, data=images, recipe=recipe)
    assert settings.retraining(dense, images) == recipe
    retraining = settings.retraining(dense, plain)
    assert retraining is not None and retraining.distillation == 1


def test_layers_count_to_the_matrix_before_them(device_context: Session, model: Path) -> None:
    found = fitting_times.measure(device_context, load_model(model))
    assert set(found["layers"]) == {"0", "2", "3"} and found["whole_ms"] > 0
    assert "beside_ms" not in found


def test_a_machine_that_is_slower_than_before_is_made_up_for(
    device_context: Session, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way is timed beside the dense network, whose time says by how much."""
    own, slower = fitting_times.measure, 1000.0

    def measured(*given: Any, **beside: Any) -> dict[str, Any]:
        found = own(*given, **beside)
        if beside:
            found = {"whole_ms": 1.0, "layers": dict.fromkeys(found["layers"], 1.0), "beside_ms": slower * dense_ms}
        return found

    monkeypatch.setattr("clprune.fitting.build.measure", measured)
    dense_ms = own(device_context, load_model(model))["whole_ms"]
    settings: dict[str, Any] = {"data": "synthetic", "count": 48, "tune_s": 0, "tries": 1, "methods": ("workgroup",)}
    result = fit(model, speed_up=1.01, device=device_context, **settings)
    chosen = [layer.chosen for layer in result.layers if layer.chosen.options is not None]
    assert chosen and all(one.time_ms < 0.1 for one in chosen)
