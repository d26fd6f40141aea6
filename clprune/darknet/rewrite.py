"""Changes to the text of a cfg, with everything else in it left as it is: comments, blanks, newlines.

How layers were pruned (`annotate_cfg`), other numbers of channels (`resize_cfg`), no batch normalization (`fold_cfg`),
the fork of darknet (`with_dialect`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from clprune.darknet.cfg import parse_cfg, read_cfg_text, split_lines, stripped
from clprune.darknet.dialect import DIALECT_KEY
from clprune.darknet.kinds.base import PRUNE_KEYS, PRUNE_WINOGRAD_KEY, MatrixLayer, PruneOptions
from clprune.darknet.registry import find_kind, kind_names
from clprune.darknet.section import Section
from clprune.errors import UsageError

_METHOD = re.compile(r"[A-Za-z0-9_.+-]+")
_VALUE = re.compile(r"=([ \t\r\v\f]*)[0-9 \t\v\f]*[0-9]")


def annotate_cfg(path: str | Path, options: Mapping[int, PruneOptions], *, text: str | None = None) -> str:
    """The text of a cfg with `prune_method`, `prune_unit` and `prune_sparsity` set on the given layers.

    Where options have one, `prune_winograd` is set too. `options` maps layer indices to what to write. Keys that such a
    layer already has are replaced; the text of other layers, comments, blank lines and newlines stay. `text` is that of
    the cfg with as many lines, such as `resize_cfg` makes of it. Raises CfgError
    when the cfg cannot be parsed and UsageError when an index names no convolutional or connected layer or a value
    could not be read back.
    """
    sections = parse_cfg(path)[1:]
    lines = split_lines(read_cfg_text(path) if text is None else text)
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    # From the last layer to the first, so that the lines of sections not yet visited keep their numbers.
    for index in sorted(options, reverse=True):
        section, _ = _matrix_section(sections, index, path=path)
        keys = _as_text(options[index])
        last = max([section.line, *(option.line for option in section.options.values())])
        if not lines[last - 1].endswith("\n"):
            lines[last - 1] += newline
        lines[last:last] = [f"{key}={value}{newline}" for key, value in keys.items()]
        for number in range(last, section.line, -1):
            if stripped(lines[number - 1].rstrip("\n")).partition("=")[0] in (*PRUNE_KEYS, PRUNE_WINOGRAD_KEY):
                del lines[number - 1]
    return "".join(lines)


def resize_cfg(path: str | Path, channels: Mapping[int, int]) -> str:
    """The text of a cfg with `filters` or `output` of the given layers changed, and `groups` where there are as many.

    `channels` maps layer indices to output channels. Comments, also those behind the value, blanks and newlines stay.
    Raises CfgError when the cfg cannot be parsed and UsageError when an index names no convolutional or connected
    layer that says how many channels it has.
    """
    sections = parse_cfg(path)[1:]
    lines = split_lines(read_cfg_text(path))
    for index, count in channels.items():
        section, kind = _matrix_section(sections, index, path=path)
        key = kind.channels_key
        if key not in section.options:
            raise UsageError(f"layer {index} has no {key}= in {path}: expected one to lower")
        if count < 1:
            raise UsageError(f"layer {index}: {count} channels; expected at least 1")
        is_depthwise = section.integer("groups", 1) == section.integer(key) > 1
        for changed in (key, "groups") if is_depthwise else (key,):
            number = section.options[changed].line
            lines[number - 1] = _VALUE.sub(rf"=\g<1>{count}", lines[number - 1], count=1)
    return "".join(lines)


def with_dialect(text: str, dialect: str) -> str:
    """The text of a cfg whose `[net]` says which fork of darknet it is meant for; all else stays."""
    lines = [line for line in split_lines(text) if stripped(line.rstrip("\n")).partition("=")[0] != DIALECT_KEY]
    first = next(number for number, line in enumerate(lines) if stripped(line.rstrip("\n")).startswith("["))
    newline = "\r\n" if lines[first].endswith("\r\n") else "\n"
    lines.insert(first + 1, f"{DIALECT_KEY}={dialect}{newline}")
    return "".join(lines)


def fold_cfg(text: str) -> str:
    """The text of a cfg with `batch_normalize=0` wherever it said otherwise; all else stays, comments too."""
    lines = split_lines(text)
    for number, line in enumerate(lines):
        key, _, value = stripped(line.rstrip("\n")).partition("=")
        if key == "batch_normalize" and value != "0":
            ending = "\r\n" if line.endswith("\r\n") else "\n" if line.endswith("\n") else ""
            lines[number] = f"batch_normalize=0{ending}"
    return "".join(lines)


def _matrix_section(sections: list[Section], index: int, *, path: str | Path) -> tuple[Section, type[MatrixLayer]]:
    """The section of layer `index` and its kind. Raises UsageError unless that has a matrix of weights."""
    if not 0 <= index < len(sections):
        raise UsageError(f"layer {index}: expected 0 to {len(sections) - 1}, the layers of {path}")
    kind = find_kind(sections[index].name)
    if kind is None or not issubclass(kind, MatrixLayer):
        raise UsageError(f"layer {index} is [{sections[index].name}]: expected one of {kind_names(MatrixLayer)}")
    return sections[index], kind


def _as_text(options: PruneOptions) -> dict[str, str]:
    """The keys and their values. Raises UsageError for what a cfg cannot hold."""
    if _METHOD.fullmatch(options.method) is None:
        raise UsageError(f"method {options.method!r}: expected letters, digits and any of _.+-")
    if not 0 <= options.sparsity < 1:
        raise UsageError(f"sparsity {options.sparsity}: expected at least 0 and less than 1")
    # repr is the shortest text that reads back as the same number; float() drops NumPy's own repr.
    values = (options.method, str(options.unit), repr(float(options.sparsity)))
    keys = dict(zip(PRUNE_KEYS, values, strict=True))
    return keys if options.winograd is None else {**keys, PRUNE_WINOGRAD_KEY: str(options.winograd)}
