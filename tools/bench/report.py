"""Results in `docs/results`: a JSON file with everything that was measured, and a Markdown file made from it.

A file holds one section per set-up (a model, a batch size, a device); measuring one again replaces it and leaves the
others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clprune.errors import DataError
from clprune.files import write_atomically

SCHEMA_VERSION = 1

Section = Mapping[str, Any]


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


def write_section(path: Path, title: str, section: Section, *, heading: str, render: Callable[[Section], str]) -> None:
    """Put `section` into the JSON file `path` and write the Markdown file of the same stem from all sections.

    `heading` opens the Markdown file, `render` makes the text under each section's title. Raises DataError, FileError.
    """
    sections = read_sections(path) | {title: section}
    ordered = dict(sorted(sections.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": SCHEMA_VERSION, "sections": ordered}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    parts = [heading.strip(), *(f"## {name}\n\n{render(values).strip()}" for name, values in ordered.items())]
    write_atomically(path.with_suffix(".md"), "\n\n".join(parts) + "\n")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table; the first `left` columns are aligned to the left, the others to the right."""
    marks = ["---" if number < left else "---:" for number in range(len(columns))]
    lines = [columns, marks, *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def machine_text(section: Section) -> str:
    """A section's machine, versions and date as a paragraph."""
    machine = section["machine"]
    memory = machine["memory_bytes"] / 2**30
    versions = ", ".join(f"{name} {version}" for name, version in section.get("versions", {}).items())
    parts = [
        f"{machine['processor']}, {machine['cpus']} cores, {memory:.0f} GiB",
        machine["system"],
        f"features {' '.join(machine['features']) or 'unknown'}",
        f"Python {machine['python']}",
        versions,
        section["date"],
    ]
    return "; ".join(part for part in parts if part) + "."
