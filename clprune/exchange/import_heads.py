"""Heads of detectors that clprune has exported: a file's metadata says what they are.

What it says is a hint alone: the answers of the whole are compared before a model is written.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from clprune.darknet.kinds.heads import Head
from clprune.darknet.registry import find_kind
from clprune.errors import ClpruneError, UsageError
from clprune.exchange.boxes import BOX_OUTPUTS
from clprune.exchange.read import metadata_of
from clprune.exchange.sketch import read_options
from clprune.exchange.write import own_fields
from clprune.json_input import parse_json

_WORD = re.compile(r"[A-Za-z0-9_]*")
#: What heads are made of.
_OPERATORS = frozenset(["Add", "Concat", "Flatten", "Identity", "Mul", "Reshape", "Sigmoid", "Softmax", "Split", "Sub"])
#: Values of one option (anchors), and the largest of them.
_MOST_VALUES, _MOST = 1000, 100_000


@dataclass(frozen=True, kw_only=True)
class FoundHead:
    """The section and keys of a head, and the tensor of the graph that feeds it."""

    section: str
    options: dict[str, Any]
    source: str


def heads_of(model: ModelProto) -> dict[str, FoundHead]:
    """The heads of a file by the names of its outputs; none where its metadata say nothing that fits."""
    try:
        described = parse_json(metadata_of(model, "heads"))
    except UsageError:
        return {}
    if not isinstance(described, dict):
        return {}
    outputs = {value.name for value in model.graph.output}
    found = {name: _head(model, name, facts) for name, facts in described.items() if name in outputs}
    return {name: head for name, head in found.items() if head is not None}


def default_outputs(model: ModelProto, heads: Mapping[str, FoundHead]) -> tuple[str, ...]:
    """All outputs of a file, but for boxes that are made of those of its heads."""
    return tuple(value.name for value in model.graph.output if not heads or value.name not in BOX_OUTPUTS)


def _head(model: ModelProto, name: str, facts: Any) -> FoundHead | None:
    kind, source = find_kind(name.rpartition("_")[0]), _source_of(model, name)
    if kind is None or not issubclass(kind, Head) or source is None or not isinstance(facts, dict):
        return None
    if facts.keys() != own_fields(kind) or not facts.get("softmax", True):
        return (
            None  # what a head without softmax applies to its classes is told by the fork of darknet, which no key says
        )
    options = {key: _text(value) for key, value in facts.items() if value not in ("", [])}
    for own in ("class_function", "hierarchy"):  # those are no keys
        options.pop(own, None)
    if any(text is None for text in options.values()) or {"tree", "map"} & options.keys():
        return None
    try:
        read = read_options(kind, options)
    except ClpruneError:
        return None
    read = json.loads(json.dumps({key: value for key, value in read.items() if key in facts}))
    return FoundHead(section=kind.names[0], options=options, source=source) if read == facts else None


def _text(value: Any) -> str | None:
    """An option as a cfg has it; None for what it cannot be."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value) if abs(value) <= _MOST else None
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else None
    if isinstance(value, Sequence) and len(value) <= _MOST_VALUES:
        parts = [_text(part) for part in value]
        return None if None in parts else ",".join(map(str, parts))
    return None


def _source_of(model: ModelProto, name: str) -> str | None:
    """The one tensor that the nodes of the output `name`, which are called after it, take of others.

    ONNX Runtime is to run nodes that nobody else looks at: those of a head do with each value something once, and take
    beside tensors single values and the sizes of parts alone.
    """
    constants = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    own = [node for node in model.graph.node if str(node.name) == name or str(node.name).startswith(f"{name}/")]
    uses = Counter(given for node in own for given in node.input if given not in constants)
    taken = uses.keys() - {output for node in own for output in node.output}
    sizes = [constants[given] for node in own for given in node.input if given in constants and node.op_type != "Split"]
    is_plain = all(node.op_type in _OPERATORS for node in own) and all(size <= 4 for size in sizes)
    return taken.pop() if len(taken) == 1 and is_plain and max(uses.values()) == 1 else None
