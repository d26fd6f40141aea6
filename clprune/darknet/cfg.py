"""Darknet's `.cfg` format: text to sections.

The format as darknet's parser has it: every space, tab and carriage return in a line is deleted, a line that begins
with `#` or `;` is a comment, any other is `[section]` or `key=value`. Where darknet is silent and silence hurts (an
unknown section, a line without `=`, a duplicate key, a value that is no number) this reader raises `CfgError`.
Comments behind a value and a byte order mark are accepted.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from clprune.darknet.registry import kind_names, section_name
from clprune.darknet.section import Option, Section, shown
from clprune.errors import CfgError

#: No cfg is this large; a weights file given in its place is.
MAX_BYTES = 1 << 24

_BLANKS = str.maketrans("", "", " \t\r\v\f")
_COMMENT = re.compile(r"[#;].*")


class CfgWarning(UserWarning):
    """A cfg holds something that does not change what is computed but may be a mistake; the text names file:line."""


def read_cfg_text(path: str | Path) -> str:
    """The file's text with its newlines and, through `surrogateescape`, its undecodable bytes kept. Raises CfgError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise CfgError("no such file", path=path) from error
    except OSError as error:
        raise CfgError(f"cannot be read: {error.strerror or error}", path=path) from error
    if len(data) > MAX_BYTES:
        raise CfgError(f"more than {MAX_BYTES} bytes: expected a darknet cfg file (text)", path=path)
    return data.decode("utf-8", "surrogateescape")


def stripped(line: str) -> str:
    """A line as darknet sees it: without blanks, and without a comment."""
    return _COMMENT.sub("", line.translate(_BLANKS).removeprefix("\ufeff"))


def split_lines(text: str) -> list[str]:
    """Lines with their line ends kept; only newline ends a line, as in darknet."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_cfg(path: str | Path) -> list[Section]:
    """Read a cfg into its sections, `[net]` first. Raises CfgError naming file and line."""
    path = Path(path)
    sections: list[Section] = []
    options: dict[str, Option] = {}
    for number, raw in enumerate(split_lines(read_cfg_text(path)), start=1):
        line = stripped(raw.rstrip("\n"))
        if not line:
            continue
        if line.startswith("["):
            options = {}
            name = _section_name(line, path=path, number=number)
            _check_order(name, first=not sections, path=path, number=number)
            sections.append(Section(path=path, name=name, line=number, options=MappingProxyType(options)))
            continue
        if not sections:
            raise CfgError(f"{shown(line)!r} before the first section: expected [net]", path=path, line=number)
        _add_option(options, line, section=sections[-1], number=number)
    if not sections:
        raise CfgError("has no sections: expected [net] and at least one layer", path=path)
    return sections


def _section_name(line: str, *, path: Path, number: int) -> str:
    if not line.endswith("]") or len(line) < 3:
        raise CfgError(f"{shown(line)!r}: expected a section such as [convolutional]", path=path, line=number)
    name = section_name(line[1:-1])
    if name is None:
        raise CfgError(f"unknown section {shown(line)}: expected one of {kind_names()}", path=path, line=number)
    return name


def _check_order(name: str, *, first: bool, path: Path, number: int) -> None:
    if first and name != "net":
        raise CfgError(f"the first section is [{name}]: expected [net] or [network]", path=path, line=number)
    if not first and name == "net":
        raise CfgError("a second [net] section: expected a layer", path=path, line=number)


def _add_option(options: dict[str, Option], line: str, *, section: Section, number: int) -> None:
    key, equals, value = line.partition("=")
    if not equals or not key:
        message = f"{shown(line)!r}: expected key=value or [section]"
        raise CfgError(message, path=section.path, line=number)
    if not value:
        raise CfgError(f"{shown(key)}= has no value", path=section.path, line=number)
    if key in options:
        message = f"{shown(key)} is given twice in [{section.name}], first in line {options[key].line}: remove one"
        raise CfgError(message, path=section.path, line=number)
    options[key] = Option(value, number)
