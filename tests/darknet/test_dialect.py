"""Which fork of darknet a cfg is meant for, and what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pytest

from clprune.cli import group
from clprune.container.model import Model, load_model
from clprune.darknet.kinds.heads import Region
from clprune.darknet.kinds.joins import Shortcut
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.errors import CfgError, UsageError

NET = "[net]\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nfilters=6\nsize=1\n"
REGION = "[region]\nnum=1\nclasses=1\nanchors=1,2\n"
SHORTCUT = "[convolutional]\nfilters=6\n[shortcut]\nfrom=0\nalpha=.5\n"


def load(folder: Path, text: str, dialect: str | None = None) -> Network:
    path = folder / "a.cfg"
    path.write_text(NET + text)
    return load_network(path, dialect=dialect)


def test_keys_tell(tmp_path: Path) -> None:
    plain = load(tmp_path, REGION).dialect
    assert (plain.name, plain.is_told) == ("alexeyab", False)
    assert load(tmp_path, SHORTCUT).dialect.name == "pjreddie"
    told = load(tmp_path, "[yolo]\nclasses=1\nnum=1\nnms_kind=greedynms\n").dialect
    assert (told.name, told.reason) == ("alexeyab", "nms_kind= in [yolo], line 11")
    assert load(tmp_path, SHORTCUT, "hank-ai").dialect.name == "hank-ai"
    with pytest.raises(UsageError, match="dialect 'x': expected one of alexeyab, hank-ai, pjreddie"):
        load(tmp_path, REGION, "x")


def test_else_the_header_does(tmp_path: Path) -> None:
    plain = load(tmp_path, REGION).dialect
    assert plain.with_header((0, 2, 0)).name == plain.with_header((0, 1, 0)).name == "pjreddie"
    assert plain.with_header((0, 2, 5)).reason == "weights of version 0.2.5"
    assert plain.with_header((925353388, 0, 0)) == plain
    assert load(tmp_path, SHORTCUT).dialect.with_header((0, 2, 5)).name == "pjreddie"


def test_what_differs(tmp_path: Path) -> None:
    """AlexeyAB's darknet ignores alpha, and leaves the classes of a [region] without softmax as they are."""
    for dialect, alpha, function in (("pjreddie", 0.5, "logistic"), ("alexeyab", 1.0, "linear")):
        shortcut, region = (load(tmp_path, text, dialect).layers[-1] for text in (SHORTCUT, REGION))
        assert isinstance(shortcut, Shortcut)
        assert shortcut.alpha == alpha
        assert isinstance(region, Region)
        assert region.runs[-1].function == function


def test_what_a_user_wants_is_kept_in_a_cfg_that_is_written(tmp_path: Path) -> None:
    network = load(tmp_path, REGION, "pjreddie")
    weights = replace(random_weights(network, seed=0), major=0, minor=2, revision=5)
    write_weights(tmp_path / "a.weights", network, weights)
    load_model(tmp_path / "a.cfg", dialect="pjreddie").save(tmp_path / "b", file_format="packed")
    saved = load_model(tmp_path / "b.cfg")
    assert saved.dialect.reason == "dialect= in [net], line 2"
    saved.save(tmp_path / "c")
    load_model(tmp_path / "b.cfg", dialect="hank-ai").save(tmp_path / "d")
    assert [load_network(tmp_path / name).dialect.name for name in ("b.cfg", "c.cfg", "d.cfg")] == [
        "pjreddie", "pjreddie", "hank-ai",
    ]  # fmt: skip
    load_model(tmp_path / "a.cfg").save(tmp_path / "e")
    assert "dialect" not in (tmp_path / "e.cfg").read_text()
    with pytest.raises(CfgError, match=r"e.cfg:2: \[net\] dialect=own: expected one of alexeyab, hank-ai, pjreddie"):
        load_network(_with(tmp_path / "e.cfg", "dialect=own"))


def _with(path: Path, line: str) -> Path:
    path.write_text(path.read_text().replace("[net]\n", f"[net]\n{line}\n"))
    return path


def test_every_command_that_reads_a_model_takes_it() -> None:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        words = {parameter.name for parameter in command.params}
        assert ("dialect" in words) == ("model" in words or name == "info"), name


def test_a_header_tells_through_packing_and_none_that_nobody_wrote(tmp_path: Path) -> None:
    """Classes of a [region] without softmax are functions of the fork: the layers follow the header, too."""
    cfg = tmp_path / "a.cfg"
    cfg.write_text(
        "[net]\nheight=4\nwidth=4\nchannels=1\n[convolutional]\nfilters=7\nactivation=linear\n"
        "[region]\nclasses=2\nnum=1\nanchors=1,1\n"
    )
    network = load_network(cfg)
    drawn = random_weights(network, seed=0)
    assert Model(network=network, weights=drawn).dialect.name == "alexeyab"
    for words, fork, function in (((0, 2, 0), "pjreddie", "logistic"), ((0, 2, 5), "alexeyab", "linear")):
        named = dict(zip(("major", "minor", "revision"), words, strict=True))
        write_weights(cfg.with_suffix(".weights"), network, replace(drawn, **named))
        model = load_model(cfg)
        model.save(tmp_path / "packed", file_format="packed")
        for loaded in (model, load_model(tmp_path / "packed.cfg")):
            assert loaded.dialect.name == fork
            head = loaded.network.layers[1]
            assert isinstance(head, Region)
            assert head.class_function == function
