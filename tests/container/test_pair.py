"""A cfg and its weights are written as one thing, and what does not belong together is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from clprune.container import pair
from clprune.container.load import save_weights
from clprune.container.model import Model, load_model
from clprune.container.pair import PairWarning
from clprune.darknet.random_weights import random_weights
from clprune.errors import FileError, WeightsError
from tests.container.networks import odd_network

SAID = "not the weights that .*odd.cfg was written with"


def odd_model(folder: Path, *, seed: int = 1) -> Model:
    folder.mkdir(exist_ok=True)
    network = odd_network(folder)
    return Model(network=network, weights=random_weights(network, seed=seed))


def saved(tmp_path: Path, *, seed: int = 1) -> tuple[Path, Path]:
    return odd_model(tmp_path / "source", seed=seed).save(tmp_path / "odd")


def test_a_cfg_names_its_weights_in_one_comment(tmp_path: Path) -> None:
    cfg, weights = saved(tmp_path)
    text = cfg.read_text()
    assert text.count(pair._MARK) == 1
    assert text.removesuffix("\n").rpartition("\n")[2].startswith("#")
    again, _ = load_model(cfg, weights).save(tmp_path / "again")
    assert again.read_text() == text
    packed, _ = load_model(cfg).save(tmp_path / "packed", file_format="packed")
    assert packed.read_text().count(pair._MARK) == 1
    assert packed.read_text() != text
    load_model(packed)


def test_the_comment_keeps_line_ends_and_ends_a_last_line(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    network.path.write_bytes(network.path.read_bytes().replace(b"\n", b"\r\n").rstrip())
    cfg, _ = load_model_without_weights(network.path).save(tmp_path / "b")
    lines = cfg.read_bytes().split(b"\n")
    assert all(line.endswith(b"\r") for line in lines[:-1]) and lines[-1] == b""
    load_model(cfg)


def load_model_without_weights(cfg: Path) -> Model:
    from clprune.darknet.network import load_network

    network = load_network(cfg)
    return Model(network=network, weights=random_weights(network, seed=1))


@pytest.mark.parametrize("replaced", ["odd.cfg", "odd.weights"])
def test_half_of_a_pair_from_another_run_is_refused(tmp_path: Path, replaced: str) -> None:
    saved(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    saved(other, seed=2)
    (other / replaced).replace(tmp_path / replaced)
    with pytest.raises(WeightsError, match=SAID):
        load_model(tmp_path / "odd.cfg")
    with pytest.raises(WeightsError, match=SAID):
        load_model(tmp_path / "odd.cfg", tmp_path / "odd.weights")


def test_an_end_between_the_two_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, _ = saved(tmp_path)
    replace = Path.replace

    def end_before_the_cfg(self: Path, target: Path) -> Path:
        if target == cfg:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", end_before_the_cfg)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, seed=2)
    monkeypatch.undo()
    with pytest.raises(WeightsError, match=SAID):
        load_model(cfg)
    saved(tmp_path, seed=2)
    load_model(cfg)


def test_weights_that_cannot_be_written_leave_the_old_pair(tmp_path: Path) -> None:
    cfg, weights = saved(tmp_path)
    before = cfg.read_bytes(), weights.read_bytes()

    def content() -> list[bytes]:
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match="No space left"):
        pair.save_pair(cfg, weights, text="[net]\n", content=(part for _ in "x" for part in content()))
    assert (cfg.read_bytes(), weights.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.cfg", "odd.weights", "source"]


def test_weights_of_another_name_are_a_choice_that_is_said(tmp_path: Path) -> None:
    cfg, weights = saved(tmp_path)
    copy = tmp_path / "copy.weights"
    copy.write_bytes(weights.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(cfg, copy)
    save_weights(copy, load_model(cfg).network, random_weights(load_model(cfg).network, seed=3))
    with pytest.warns(PairWarning, match=f"copy.weights: {SAID}"):
        load_model(cfg, copy)


def test_new_weights_in_the_place_of_the_old_are_named(tmp_path: Path) -> None:
    """As `clprune train` writes them; a cfg that named none is left as it is."""
    cfg, weights = saved(tmp_path)
    model = load_model(cfg)
    save_weights(weights, model.network, random_weights(model.network, seed=4))
    load_model(cfg)
    plain = odd_model(tmp_path / "source")
    before = plain.path.read_bytes()
    save_weights(plain.path.with_suffix(".weights"), plain.network, plain.weights)
    assert plain.path.read_bytes() == before
    load_model(plain.path)
