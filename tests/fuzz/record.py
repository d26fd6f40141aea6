"""What runs of `make fuzz` add up to: docs/results/fuzz.json, and the page that is made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clprune.device import DeviceInfo
from tests.fuzz.session import Result
from tools.bench.machine import device_text, today
from tools.bench.report import full_title, make_section, read_section, read_sections, table_of, write_section

PATH = Path(__file__).resolve().parents[2] / "docs" / "results" / "fuzz.json"

_COUNTS = ("inputs", "accepted", "on_device")
_COLUMNS = ("target", "inputs", "accepted", "run on the device", "minutes", "faults found")
_HEADING = """# Mutated files

Written by `make fuzz FUZZ=--record`, which adds to what was there. Inputs are made by mutation, no two of a run alike,
and read in a process that may take 2 GiB more than it had and 20 s an input. A fault is anything but an answer or an
error of one printable line: a traceback, a hang, the end of the process, more memory, something printed besides,
weights accepted that are not finite, and on a device a wrong answer. Those that were found are listed.
"""


def record(results: Iterable[Result], *, seed: int, device: DeviceInfo, path: Path = PATH) -> None:
    """Add `results` to the section of the day and the device, and write the page anew."""
    title = f"{today()}, {device_text(device)}"
    before = read_section(path, title) or {"targets": {}, "findings": [], "seeds": []}
    targets = {name: dict(counts) for name, counts in before["targets"].items()}
    findings = list(before["findings"])
    for result in results:
        counts = targets.setdefault(result.target, dict.fromkeys((*_COUNTS, "seconds", "faults"), 0))
        for name in (*_COUNTS, "seconds"):
            counts[name] += getattr(result, name)
        new = [text for text in result.findings if text not in findings]
        counts["faults"] += len(new)
        findings += new
    seeds = sorted({*before["seeds"], seed})
    section = make_section(
        ("numpy", "pillow", "safetensors", "pyopencl"),
        text=f"Seeds {seeds[0]} to {seeds[-1]}.",
        parts=[_table(targets), *(f"- {text}" for text in findings)],
        targets=targets,
        findings=findings,
        seeds=seeds,
    )
    sections = {**read_sections(path), full_title(title, section["machine"]): section}
    write_section(path, title, section, heading=f"{_HEADING}\n{_total(sections.values())}")


def _table(targets: Mapping[str, Mapping[str, float]]) -> Any:
    rows: list[Sequence[object]] = [
        (name, *(f"{counts[column]:,}" for column in _COUNTS), f"{counts['seconds'] / 60:.0f}", counts["faults"])
        for name, counts in targets.items()
    ]
    return table_of(_COLUMNS, rows)


def _total(sections: Iterable[Mapping[str, Any]]) -> str:
    counts = [counts for section in sections for counts in section["targets"].values()]
    inputs, faults = (sum(count[name] for count in counts) for name in ("inputs", "faults"))
    return f"In all **{inputs:,} inputs, {faults} faults found**."
