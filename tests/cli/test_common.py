"""Errors on one line with the right status, tables, and commands found by their file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest

from clprune.cli import LazyGroup, main
from clprune.cli.shared.errors import one_line_errors
from clprune.cli.shared.text import print_json, print_table
from clprune.errors import CfgError, UsageError


def status_of(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise error
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UsageError("sparsity 1.5"), 2, "clprune: error: sparsity 1.5\n"),
        (CfgError("bad", path="a.cfg", line=3), 1, "clprune: error: a.cfg:3: bad\n"),
        (click.BadParameter("no"), 2, "clprune: error: Invalid value: no (try 'clprune --help')\n"),
        (click.FileError("a.png", "gone"), 1, "clprune: error: Could not open file 'a.png': gone\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "clprune: error: x: No such file or directory\n"),
        (
            RuntimeError("[enforce fail at x.cpp:1] . CPUAllocator: can't allocate memory: 5 bytes"),
            1,
            "clprune: error: not enough memory\n",
        ),
        (MemoryError(), 1, "clprune: error: not enough memory\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Abort(), 130, ""),
    ],
)
def test_status_and_line(error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(error, capsys) == (status, text)


def test_interrupt_inside_a_class_that_is_being_made(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("Error calling __set_name__")
    error.__cause__ = KeyboardInterrupt()
    assert status_of(error, capsys) == (130, "")


def test_bug_surfaces() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


def test_warning_is_one_line_and_the_users_settings_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning
    with one_line_errors():
        warnings.simplefilter("always")
        warnings.warn("unknown key 'colour'", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "clprune: warning: unknown key 'colour'\n"
    assert warnings.showwarning is before


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        (["bogus"], "'bogus'", "(try 'clprune --help')"),
        (["common"], "'common'", "(try 'clprune --help')"),
        (["devices", "--bogus"], "--bogus", "(try 'clprune devices --help')"),
    ],
)
def test_wrong_usage(arguments: list[str], named: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("clprune: error: No such ")
    assert named in error
    assert error.endswith(f"{hint}\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
@pytest.mark.parametrize(
    "words", ["tune a.cfg --budget", "fit a.cfg --out b --tune-s", "eval a.cfg --iou", "prune a.cfg --temperature"]
)
def test_numbers_are_finite(words: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), value])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Invalid value for '{words.rsplit(maxsplit=1)[-1]}': " in line


def test_no_arguments_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "Commands:" in capsys.readouterr().err


def test_every_command_has_a_short_help() -> None:
    group = LazyGroup()
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    assert {"bench", "devices", "eval", "infer", "prune", "quantize", "train", "tune", "verify"} <= commands.keys()
    for name, command in commands.items():
        assert isinstance(command, click.Command) and command.name == name
    formatter = click.HelpFormatter(width=200)
    group.format_commands(context, formatter)
    assert all(re.search(rf"^  {name} +[A-Z].*\.$", formatter.getvalue(), re.MULTILINE) for name in commands)


def test_list_of_commands_imports_none_of_them() -> None:
    script = (
        "import sys\nfrom clprune.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(len(sys.modules), *sorted(name for name in sys.modules if name.startswith('clprune')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    count, *ours = result.stdout.splitlines()[-1].split()
    assert ours == [
        "clprune", "clprune.cli", "clprune.cli.shared", "clprune.cli.shared.errors", "clprune.errors",
        "clprune.version",
    ]  # fmt: skip
    assert int(count) < 300


def test_table_aligns_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["layer", "ms"], [["conv1", "1.5"], ["conv11", "12.25"], ["softmax", "-"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["layer       ms", "conv1      1.5", "conv11   12.25", "softmax      -"]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Größe", "best_ms": 1.5})
    assert json.loads(capsys.readouterr().out) == {"name": "Größe", "best_ms": 1.5}
    with pytest.raises(ValueError, match="Out of range float values"):
        print_json(float("nan"))


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    script = "from clprune.cli import main; main(['--help'])"
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-c", script], stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(write_end)
    assert result.stderr == b""
    assert result.returncode == 1
