"""Pruning keys written into a cfg: what is set, and that nothing else in the text changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.darknet.rewrite import annotate_cfg
from clprune.errors import UsageError
from clprune.unit import Unit

HALF = PruneOptions(method="workgroup", unit=Unit(rows=8), sparsity=0.5)
MOST = PruneOptions(method="workgroup", unit=Unit(rows=4, columns=9), sparsity=0.875)


def write(folder: Path, text: str) -> Path:
    path = folder / "a.cfg"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def prune_of(text: str, folder: Path) -> list[PruneOptions | None]:
    layers = load_network(write(folder, text)).layers
    return [layer.prune for layer in layers if isinstance(layer, Convolutional | Connected)]


PLAIN = """# my network
[net]
height=8   # rows
width=8
channels=3

[convolutional]
filters=16 ; sixteen

# between
[maxpool]
stride=2

[connected]
output=10
"""


def test_keys_follow_the_last_option(tmp_path: Path) -> None:
    text = annotate_cfg(write(tmp_path, PLAIN), {0: HALF, 2: MOST})
    expected = PLAIN.replace(
        "filters=16 ; sixteen\n",
        "filters=16 ; sixteen\nprune_method=workgroup\nprune_unit=8x1\nprune_sparsity=0.5\n",
    )
    expected += "prune_method=workgroup\nprune_unit=4x9\nprune_sparsity=0.875\n"
    assert text == expected
    assert prune_of(text, tmp_path) == [HALF, MOST]


def test_again_replaces_and_nothing_changes_nothing(tmp_path: Path) -> None:
    once = annotate_cfg(write(tmp_path, PLAIN), {0: HALF, 2: HALF})
    assert annotate_cfg(write(tmp_path, once), {0: HALF, 2: HALF}) == once
    assert annotate_cfg(write(tmp_path, once), {}) == once
    again = annotate_cfg(write(tmp_path, once), {0: MOST})
    assert prune_of(again, tmp_path) == [MOST, HALF]
    assert again.count("prune_method") == 2


def test_old_keys_anywhere_in_the_section_are_replaced(tmp_path: Path) -> None:
    old = (
        "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\n prune_method = x\nfilters=4\nprune _unit=1x1 # old\n"
        "size=1\nprune_sparsity=.1\n[conn]\n"
    )
    text = annotate_cfg(write(tmp_path, old), {0: HALF})
    assert text == (
        "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\nfilters=4\nsize=1\n"
        "prune_method=workgroup\nprune_unit=8x1\nprune_sparsity=0.5\n[conn]\n"
    )


def test_windows_newlines_byte_order_mark_odd_bytes_and_missing_last_newline(tmp_path: Path) -> None:
    old = "\ufeff[net]\r\nheight=8\r\nwidth=8\r\nchannels=3\r\n# caf\udce9\r\n[conn]"
    text = annotate_cfg(write(tmp_path, old), {0: HALF})
    assert text == old + "\r\nprune_method=workgroup\r\nprune_unit=8x1\r\nprune_sparsity=0.5\r\n"


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 1 / 3, 0.9999999])
def test_sparsity_reads_back_exactly(tmp_path: Path, sparsity: float) -> None:
    options = PruneOptions(method="workgroup", unit=Unit(rows=1), sparsity=sparsity)
    assert prune_of(annotate_cfg(write(tmp_path, PLAIN), {2: options}), tmp_path) == [None, options]


@pytest.mark.parametrize(
    ("index", "options", "words"),
    [
        (3, HALF, "expected 0 to 2"),
        (-1, HALF, "expected 0 to 2"),
        (1, HALF, r"\[maxpool\]"),
        (0, PruneOptions(method="two words", unit=Unit(rows=1), sparsity=0.5), "letters"),
        (0, PruneOptions(method="", unit=Unit(rows=1), sparsity=0.5), "letters"),
        (0, PruneOptions(method="w", unit=Unit(rows=1), sparsity=1.0), "less than 1"),
        (0, PruneOptions(method="w", unit=Unit(rows=1), sparsity=float("nan")), "less than 1"),
    ],
)
def test_refusals(tmp_path: Path, index: int, options: PruneOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        annotate_cfg(write(tmp_path, PLAIN), {index: options})
