"""Results in `docs/results`: a JSON file with everything that was measured, and a Markdown file made from it.

A file holds one section per set-up (a model, a batch size, a device) and class of processor; measuring one again
replaces it and leaves the others. What a page shows of a section are its `text`, after the machine, and its `parts`:
paragraphs and tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clprune.errors import DataError
from clprune.files import write_atomically
from tools.bench.figures import FIGURE_COLUMNS, Figure
from tools.bench.machine import circumstances, cpu_title, this_machine
from tools.terminal import print_table

SCHEMA_VERSION = 1

Section = Mapping[str, Any]

#: A paragraph (or a heading), or a table as `table_of` makes it.
Part = str | Mapping[str, Any]


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Part:
    """A table as JSON can hold it."""
    return {"columns": list(columns), "rows": [[str(cell) for cell in row] for row in rows]}


def figure_table(figures: Iterable[Figure]) -> Part:
    """A table of figures beside their goals."""
    return table_of(FIGURE_COLUMNS, [figure.row() for figure in figures])


def make_section(
    packages: Iterable[str], *, text: str, parts: Sequence[Part], figures: Iterable[Figure] = (), **facts: Any
) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it: when, on what and with which `packages`; `facts`; and its page."""
    known = {"figures": [figure.to_dict() for figure in figures]}
    return {**circumstances(packages), **facts, **known, "text": text, "parts": list(parts)}


def read_sections(path: Path) -> dict[str, Any]:
    """Title -> section of a results file; none where there is no file. Raises DataError for another kind of file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, sections = content["schema_version"], dict(content["sections"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"expected results with a schema_version and sections ({error}); move it away", path=path
        ) from error
    if version != SCHEMA_VERSION:
        raise DataError(f"schema version {version}, expected {SCHEMA_VERSION}: move it away", path=path)
    return sections


def read_section(path: Path, title: str) -> dict[str, Any]:
    """The section that an earlier run wrote on this class of processor; empty where there is none. Raises DataError."""
    return dict(read_sections(path).get(full_title(title, this_machine()), {}))


def full_title(title: str, machine: Mapping[str, Any]) -> str:
    """`title` with the class of the machine's processor."""
    return ", ".join(filter(None, (title, cpu_title(machine["features"]))))


def write_section(path: Path, title: str, section: Section, *, heading: str) -> None:
    """Put `section` into the JSON file `path` and write the Markdown file of the same stem from all sections.

    Only what the same class of processor gave under `title` is replaced. `heading` opens the Markdown file. Raises
    DataError, FileError.
    """
    ordered = dict(sorted({**read_sections(path), full_title(title, section["machine"]): section}.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": SCHEMA_VERSION, "sections": ordered}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    parts = [heading.strip(), *(f"## {name}\n\n{render_section(values)}" for name, values in ordered.items())]
    write_atomically(path.with_suffix(".md"), "\n\n".join(parts) + "\n")


def render_section(section: Section) -> str:
    """A section as Markdown."""
    shown = [
        part if isinstance(part, str) else markdown_table(part["columns"], part["rows"]) for part in section["parts"]
    ]
    return "\n\n".join([f"{machine_text(section)} {section['text']}".strip(), *shown])


def show(title: str, parts: Iterable[Part]) -> None:
    """The tables among `parts` on stdout."""
    click.echo(title)
    for part in parts:
        if not isinstance(part, str):
            print_table(part["columns"], part["rows"])
            click.echo()


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table; the first `left` columns are aligned to the left, the others to the right."""
    marks = ["---" if number < left else "---:" for number in range(len(columns))]
    lines = [columns, marks, *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def machine_text(section: Section) -> str:
    """A section's machine, versions and date as a paragraph."""
    machine = section["machine"]
    parts = [
        f"{machine['processor']}, {machine['cpus']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB",
        machine["system"],
        f"features {' '.join(machine['features']) or 'unknown'}",
        f"Python {machine['python']}",
        ", ".join(f"{name} {version}" for name, version in section.get("versions", {}).items()),
        section["date"],
    ]
    return "; ".join(part for part in parts if part) + "."
