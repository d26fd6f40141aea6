"""`clprune devices` on imaginary machines and on this one."""

from __future__ import annotations

import json

import pytest

from clprune import opencl
from clprune.cli import main
from clprune.device import PlatformInfo
from clprune.selection import select_device
from tests.imaginary import imaginary_platform

MACHINE = [
    imaginary_platform(0, "Clover", problem="no devices"),
    imaginary_platform(1, "Portable", {"type": "cpu", "name": "Example CPU", "guessed": frozenset(), "clock_mhz": 0}),
    imaginary_platform(2, "Vendor", {"name": "Example GPU"}),
]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["devices", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[PlatformInfo]:
    platforms = list(MACHINE)
    monkeypatch.setattr(opencl, "discover_platforms", lambda: platforms)
    monkeypatch.setattr(
        opencl, "choose", lambda selection: select_device(platforms, selection=selection, environment={})
    )
    monkeypatch.setenv("COLUMNS", "60")
    return platforms


def test_text(machine: list[PlatformInfo], capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "platform 0: Clover" in out
    assert "no devices" in out
    assert "    1:0  Example CPU\n" in out
    assert "  * 2:0  Example GPU  <- chosen\n" in out
    assert out.count("~32 float32 lanes") == 1
    assert "~ marks a guess" in out
    assert "32 KiB, dedicated" in out
    assert "not reported" in out
    assert max(len(line) for line in out.splitlines()) <= 60


def test_json(machine: list[PlatformInfo], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--device", "portable") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chosen"] == "1:0"
    assert [platform["name"] for platform in report["platforms"]] == ["Clover", "Portable", "Vendor"]
    assert report["platforms"][0] == {
        "index": 0,
        "name": "Clover",
        "vendor": "Example Corporation",
        "version": "OpenCL 3.0",
        "problem": "no devices",
        "devices": [],
    }
    assert report["platforms"][2]["devices"][0]["guessed"] == ["simd_width"]


def test_unmatched_selection_lists_first_and_fails(
    machine: list[PlatformInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--device", "nothing") == 1
    out, err = capsys.readouterr()
    assert "Example GPU" in out
    assert "chosen" not in out
    assert err.startswith("clprune: error: the device selection is 'nothing': ")
    assert err.count("\n") == 1


def test_no_driver(machine: list[PlatformInfo], capsys: pytest.CaptureFixture[str]) -> None:
    machine.clear()
    assert run("--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"chosen": None, "platforms": []}
    assert "pip install 'clprune[cpu]'" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("device_context")
def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    report = json.loads(capsys.readouterr().out)
    selectors = [device["selector"] for platform in report["platforms"] for device in platform["devices"]]
    assert report["chosen"] in selectors
