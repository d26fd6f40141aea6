"""Numbers on the command line: absurd ones are refused in one line, by every option of every command alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clprune.cli import group
from clprune.cli.shared.numbers import FINITE, WHOLE, FiniteRange, WholeRange, finite_number, whole_number
from clprune.errors import UsageError
from clprune.training.recipe import Recipe
from tests.cli.conftest import Run

#: What Python takes for numbers, and people do not write.
NO_NUMBERS = ("", " ", "1_0", " 1 ", "٣", "²", "0x10", "nan", "inf", "-inf", "1e400", "--1", "1.2.3", "1e", "9" * 5000)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_texts_that_are_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        whole_number(text)
    if text != "9" * 5000 or math.isinf(float(text)):
        with pytest.raises(ValueError, match="expected a number"):
            finite_number(text)


def test_texts_that_are_numbers() -> None:
    assert [whole_number(text) for text in ("0", "-3", "+12", "007")] == [0, -3, 12, 7]
    assert [finite_number(text) for text in ("0", "-.5", "+1e-3", "2.", "1E3")] == [0, -0.5, 0.001, 2, 1000]


def numeric_options(command: click.Command, name: str = "clprune") -> Iterator[tuple[str, click.Parameter]]:
    """Every option that makes a number of a text, with its command."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from numeric_options(found, child)
    for option in command.params:
        is_range = isinstance(option.type, (click.IntRange, click.FloatRange)) and not getattr(option, "count", False)
        if is_range or option.type in (WHOLE, FINITE, click.INT, click.FLOAT):
            yield f"{name} {option.name}", option


def test_every_option_reads_them_so() -> None:
    found = list(numeric_options(group))
    assert len(found) > 90
    for name, option in found:
        assert option.type in (WHOLE, FINITE) or isinstance(option.type, (WholeRange, FiniteRange)), name
        for text in ("1_0", "nan", "9" * 400):
            with pytest.raises(click.BadParameter, match=r"expected a (whole )?number"):
                option.type.convert(text, option, None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bench", "--rounds", "1000000000000"], "1000000000000 rounds of 1 contestants: expected 1 to 1000000"),
        (["bench", "--rounds", "٣"], "'--rounds': '٣': expected a whole number"),
        (["tune", "--budget", "1e308"], "a budget of 1e+308 seconds: expected 0 to 10000000"),
        (
            ["train", "--data", "synthetic", "--out", "o", "--epochs", "1" + 17 * "0"],
            "epochs 100000000000000000: expected",
        ),
        (["train", "--data", "synthetic", "--out", "o", "--epochs", "1", "--learning-rate", "1e308"], "at most 1e+18"),
        (
            [
                "prune",
                "--sparsity",
                "0.5",
                "--data",
                "synthetic",
                "--epochs",
                "1",
                "--out",
                "o",
                "--steps",
                "99999999999",
            ],
            "99999999999 pruning steps: expected 1 to 10000",
        ),
        (["fit", "--data", "synthetic", "--out", "o", "--sweep", "1,nan"], "--sweep '1,nan': expected milliseconds"),
        (["fit", "--data", "synthetic", "--out", "o", "--speed-up", "2", "--bits", "1_6"], "--bits '1_6': expected 16"),
    ],
)
def test_absurd_numbers(run: Run, model: Path, arguments: list[str], text: str) -> None:
    result = run(arguments[0], model, *arguments[1:])
    assert result.status == 2
    assert text in result.err.splitlines()[-1]
    assert "Traceback" not in result.err


@pytest.mark.parametrize("value", ["nan", "inf", "1_0", "x" * 500])
def test_flags_of_darknet(run: Run, model: Path, images: list[Path], tmp_path: Path, value: str) -> None:
    (tmp_path / "c.names").write_text("".join(f"{number}\n" for number in range(5)))
    (tmp_path / "c.data").write_text(f"classes=5\nnames={tmp_path / 'c.names'}\n")
    weights = model.with_suffix(".weights")
    result = run("darknet", "classifier", "predict", tmp_path / "c.data", model, weights, images[0], "-t", value)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "expected a number" in result.err


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift_pixels": 10**30}, {"learning_rate": 1e308}, {"weight_decay": math.inf}, {"temperature": math.nan},
        {"winograd_learning_rate": 1e300}, {"seed": 1 << 64}, {"epochs": 10**12},
    ],
)  # fmt: skip
def test_recipes_have_numbers_that_training_can_compute_with(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} "):
        Recipe(**{"epochs": 1, **wrong})  # type: ignore[arg-type]
