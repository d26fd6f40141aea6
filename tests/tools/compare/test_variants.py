"""What is compared, and what a method is asked for."""

from __future__ import annotations

import pytest

from clprune.errors import UsageError
from clprune.pruning.registry import list_methods
from clprune.pruning.settings import asked_output_tile
from clprune.unit import Unit
from tools.compare.variants import METHODS, Variant, default_units, default_variants, parse_shares, parse_variants


def test_every_method_that_prunes_weights_as_they_are_is_compared() -> None:
    assert set(METHODS) == {name for name in list_methods() if asked_output_tile(name) is None}


def test_defaults_hold_every_method_and_permuted_column_methods() -> None:
    variants = default_variants(wavefront=Unit(rows=8), workgroup=Unit(rows=16))
    assert [str(variant) for variant in variants] == [
        "filter", "block-8x1", "balanced", "nm", "unstructured", "wavefront-8x1", "workgroup-16x1", "bcbp-8x1",
        "mixed-8x1", "wavefront-8x1-permute", "workgroup-16x1-permute", "bcbp-8x1-permute",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["filter", "workgroup-16x1", "block-8x4", "bcbp-8x1-permute"])
def test_names_are_read_as_they_are_written(text: str) -> None:
    assert str(Variant.parse(text)) == text
    assert parse_variants(f"{text}, nm") == (Variant.parse(text), Variant(method="nm"))


def test_methods_that_need_a_unit_get_one() -> None:
    units = default_units(wavefront=Unit(rows=8), workgroup=Unit(rows=16))
    named = parse_variants("filter,block,workgroup-permute,bcbp-4x1", units=units)
    assert [str(variant) for variant in named] == ["filter", "block-8x1", "workgroup-16x1-permute", "bcbp-4x1"]


@pytest.mark.parametrize("text", ["", "8x1", "bcbp-8", "nothing-8x1", "bcbp-permute-8x1"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Variant.parse(text)


def test_filters_are_counted_so_that_the_share_of_weights_is_the_wanted_one() -> None:
    assert Variant(method="filter").method_sparsity(0.75) == 0.5
    assert Variant(method="bcbp").method_sparsity(0.75) == 0.75


def test_shares_are_numbers() -> None:
    assert parse_shares("0.5,0.75") == (0.5, 0.75)
    with pytest.raises(UsageError, match=r"'0.5;0.75': expected numbers such as"):
        parse_shares("0.5;0.75")


@pytest.mark.parametrize("share", ["0", "1.0", "-0.5", "nan"])
def test_shares_lie_between_none_and_all(share: str) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        parse_shares(f"0.5,{share}")
