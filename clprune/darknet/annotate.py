"""Writing into a cfg how its layers were pruned, with everything else in the text left as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from clprune.darknet.cfg import Section, parse_cfg, read_cfg_text, split_lines, stripped
from clprune.darknet.keys import PRUNE_KEYS, PRUNE_WINOGRAD_KEY
from clprune.darknet.layers import PruneOptions
from clprune.errors import UsageError

PRUNABLE_KINDS = ("convolutional", "connected")

_METHOD = re.compile(r"[A-Za-z0-9_.+-]+")


def annotate_cfg(path: str | Path, options: Mapping[int, PruneOptions]) -> str:
    """The text of a cfg with `prune_method`, `prune_unit` and `prune_sparsity` set on the given layers.

    Where options have one, `prune_winograd` is set too. `options` maps layer indices to what to write. Keys that such a
    layer already has are replaced; the text of other layers, comments, blank lines and newlines stay. Raises CfgError
    when the cfg cannot be parsed and UsageError when an index names no convolutional or connected layer or a value
    could not be read back.
    """
    sections = parse_cfg(path)[1:]
    lines = split_lines(read_cfg_text(path))
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    # From the last layer to the first, so that the lines of sections not yet visited keep their numbers.
    for index in sorted(options, reverse=True):
        section = _prunable(sections, index, path=path)
        keys = _as_text(options[index])
        last = max([section.line, *(option.line for option in section.options.values())])
        if not lines[last - 1].endswith("\n"):
            lines[last - 1] += newline
        lines[last:last] = [f"{key}={value}{newline}" for key, value in keys.items()]
        for number in range(last, section.line, -1):
            if stripped(lines[number - 1].rstrip("\n")).partition("=")[0] in (*PRUNE_KEYS, PRUNE_WINOGRAD_KEY):
                del lines[number - 1]
    return "".join(lines)


def _prunable(sections: list[Section], index: int, *, path: str | Path) -> Section:
    if not 0 <= index < len(sections):
        raise UsageError(f"layer {index}: expected 0 to {len(sections) - 1}, the layers of {path}")
    if sections[index].name not in PRUNABLE_KINDS:
        raise UsageError(f"layer {index} is [{sections[index].name}]: expected one of {', '.join(PRUNABLE_KINDS)}")
    return sections[index]


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
