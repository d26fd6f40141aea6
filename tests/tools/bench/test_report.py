"""Results files: sections replace each other by title, strangers are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clprune.errors import DataError
from tools.bench.machine import parse_cpuinfo, today
from tools.bench.report import (
    machine_text,
    make_section,
    markdown_table,
    read_section,
    read_sections,
    table_of,
    write_section,
)

MACHINE = {
    "processor": "Example 9000",
    "cpus": 2,
    "features": ["avx2", "fma"],
    "memory_bytes": 8 * 2**30,
    "system": "Linux, x86_64",
    "python": "3.11.7",
}


def test_sections_replace_each_other_by_title(tmp_path: Path) -> None:
    path = tmp_path / "results" / "peers.json"
    for title, value in (("b", 1), ("a", 2), ("b", 3)):
        parts = [f"paragraph {value}", table_of(("name",), [(value,)])]
        section = {**make_section([], text="Text.", parts=parts, value=value), "machine": MACHINE}
        write_section(path, title, section, heading="# Results")
    assert {title: section["value"] for title, section in read_sections(path).items()} == {"a, AVX2": 2, "b, AVX2": 3}
    first, *lines = re.split("\n\n", path.with_suffix(".md").read_text())
    assert first == "# Results"
    assert lines[1].endswith(f"{today()}. Text.")
    assert lines[0::4] == ["## a, AVX2", "## b, AVX2"]
    assert lines[2:4] == ["paragraph 2", "| name |\n| --- |\n| 2 |"]
    assert lines[6:] == ["paragraph 3", "| name |\n| --- |\n| 3 |\n"]


def test_classes_of_processors_are_kept_apart(tmp_path: Path) -> None:
    path, wider = tmp_path / "peers.json", {**MACHINE, "features": ["avx2", "avx512f"]}
    halved = {**MACHINE, "features": ["avx2", "avx512f", "avx512_bf16", "avx512_vbmi2"]}
    whole = {**MACHINE, "features": [*halved["features"], "avx512_vp2intersect"]}
    for machine, value in ((MACHINE, 1), (wider, 2), (MACHINE, 3), (halved, 4), (whole, 5)):
        section = {**make_section([], text="", parts=[], value=value), "machine": machine}
        write_section(path, "a", section, heading="# Results")
    assert {title: section["value"] for title, section in read_sections(path).items()} == {
        "a, AVX-512": 5,
        "a, AVX-512 in two passes": 4,
        "a, AVX2": 3,
    }


def test_what_this_machine_wrote_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    assert not read_section(path, "a")
    write_section(path, "a", make_section([], text="", parts=[], value=1), heading="# Results")
    assert read_section(path, "a")["value"] == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1, "sections": 3}'])
def test_strange_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "peers.json"
    path.write_text(content)
    with pytest.raises(DataError, match="expected results with a schema_version and sections"):
        read_sections(path)


def test_newer_file(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"schema_version": 2, "sections": {}}))
    with pytest.raises(DataError, match="schema version 2, expected 1"):
        read_sections(path)


def test_markdown_table() -> None:
    assert markdown_table(("name", "ms"), [("a|b", 1.5)]) == "| name | ms |\n| --- | ---: |\n| a\\|b | 1.5 |"


def test_machine_of_a_section() -> None:
    section = {"machine": MACHINE, "versions": {"torch": "2.13.0"}, "date": "2026-11-20"}
    expected = "Example 9000, 2 cores, 8 GiB; Linux, x86_64; features avx2 fma; Python 3.11.7; torch 2.13.0; "
    assert machine_text(section) == expected + "2026-11-20."


@pytest.mark.parametrize(
    ("text", "processor", "features"),
    [
        ("model name\t: Example 9000\nflags\t: fpu avx2 fma\nmodel name\t: other\n", "Example 9000", ("avx2", "fma")),
        ("Features\t: fp asimd sve2 crc32\n", "", ("asimd", "sve2")),
        ("", "", ()),
    ],
)
def test_cpuinfo(text: str, processor: str, features: tuple[str, ...]) -> None:
    assert parse_cpuinfo(text) == (processor, features)
