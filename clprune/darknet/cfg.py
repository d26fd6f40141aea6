"""Darknet's `.cfg` format: text to sections.

The format as darknet's parser has it: every space, tab and carriage return in a line is deleted, a line that begins
with `#` or `;` is a comment, any other is `[section]` or `key=value`, of which the first of a key counts. Where darknet
is silent and silence hurts (an unknown section, a line without `=`, a value that is no number) this reader raises
`CfgError`; a key that is given again earns a warning, as does an empty value of a key that is not read. Comments behind
a value and a byte order mark are accepted.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import MappingProxyType

from clprune.darknet.registry import kind_names, section_name
from clprune.darknet.section import Option, Section
from clprune.errors import CfgError, ClpruneWarning, shown
from clprune.files import read_text

#: No cfg is this large: darknet's own have up to 50 KB.
MAX_BYTES = 1 << 20

_BLANKS = str.maketrans("", "", " \t\r\v\f")
_COMMENT = re.compile(r"[#;].*")
_APART_BY_BLANKS = re.compile(r"(?<=[0-9.])[ \t]+(?=[-.0-9])")


class CfgWarning(ClpruneWarning):
    """A cfg holds something that does not change what is computed but may be a mistake; the text names file:line."""


def read_cfg_text(path: str | Path) -> str:
    """The file's text with its newlines and, through `surrogateescape`, its undecodable bytes kept. Raises CfgError."""
    return read_text(path, error=CfgError, expected="a darknet cfg file", max_bytes=MAX_BYTES)


def stripped(line: str) -> str:
    """A line as darknet sees it: without blanks, and without a comment."""
    return _COMMENT.sub("", line.translate(_BLANKS).removeprefix("\ufeff"))


def split_lines(text: str) -> list[str]:
    """Lines with their line ends kept; only newline ends a line, as in darknet."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_cfg(path: str | Path, *, text: str | None = None) -> list[Section]:
    """Read a cfg, or the `text` of one, into its sections, `[net]` first. Raises CfgError naming file and line."""
    path = Path(path)
    if text is None:
        text = read_cfg_text(path)
    elif len(text) > MAX_BYTES:
        raise CfgError(f"more than {MAX_BYTES} bytes: expected a smaller network", path=path)
    sections: list[Section] = []
    options: dict[str, Option] = {}
    for number, raw in enumerate(split_lines(text), start=1):
        line = stripped(_with_commas(raw.rstrip("\n"), path=path, number=number))
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


def _with_commas(line: str, *, path: Path, number: int) -> str:
    """A line with commas where blanks alone part the numbers of a list, as in an official cfg."""
    line = _COMMENT.sub("", line)
    if "," not in line or _APART_BY_BLANKS.search(line) is None:
        return line
    message = "numbers with a blank but no comma between them are read as several: darknet would read one"
    warnings.warn(CfgWarning(f"{path}:{number}: {message}"), stacklevel=3)
    return _APART_BY_BLANKS.sub(",", line)


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
    if key in options and options[key].value:  # darknet drops a line without a value
        message = f"{shown(key)} is given again in [{section.name}] and ignored: line {options[key].line} counts"
        warnings.warn(CfgWarning(f"{section.path}:{number}: {message}"), stacklevel=2)
        return
    options[key] = Option(value, number)
