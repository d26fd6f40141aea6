"""Writing other numbers of output channels into a cfg, with everything else in the text left as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from clprune.darknet.cfg import parse_cfg, read_cfg_text, split_lines
from clprune.errors import UsageError

#: The key that says how many output channels a layer of that kind has.
CHANNEL_KEYS = {"convolutional": "filters", "connected": "output"}

_VALUE = re.compile(r"=([ \t\r\v\f]*)[0-9 \t\v\f]*[0-9]")


def resize_cfg(path: str | Path, channels: Mapping[int, int]) -> str:
    """The text of a cfg with `filters` or `output` of the given layers changed.

    `channels` maps layer indices to output channels. Comments, also those behind the value, blanks and newlines stay.
    Raises CfgError when the cfg cannot be parsed and UsageError when an index names no convolutional or connected
    layer that says how many channels it has.
    """
    sections = parse_cfg(path)[1:]
    lines = split_lines(read_cfg_text(path))
    for index, count in channels.items():
        if not 0 <= index < len(sections):
            raise UsageError(f"layer {index}: expected 0 to {len(sections) - 1}, the layers of {path}")
        section = sections[index]
        key = CHANNEL_KEYS.get(section.name)
        if key is None:
            raise UsageError(f"layer {index} is [{section.name}]: expected one of {', '.join(CHANNEL_KEYS)}")
        if key not in section.options:
            raise UsageError(f"layer {index} has no {key}= in {path}: expected one to lower")
        if count < 1:
            raise UsageError(f"layer {index}: {count} channels; expected at least 1")
        number = section.options[key].line
        lines[number - 1] = _VALUE.sub(rf"=\g<1>{count}", lines[number - 1], count=1)
    return "".join(lines)
