"""Inputs made of others: bytes changed, cut, doubled and spliced, numbers made extreme, JSON and cfg by structure."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

#: Makes an input of one of the corpus; the corpus is there to splice with.
Mutation: TypeAlias = Callable[[Random, bytes, Sequence[bytes]], bytes]

#: Longer ones are cut: what is looked for does not need size, and small inputs are tried faster.
MAX_BYTES = 1 << 20

NUMBERS = [
    b"0", b"-1", b"1", b"2", b"7", b"255", b"65536", b"2147483647", b"2147483648", b"-2147483649", b"4294967295",
    b"18446744073709551616", b"1" + b"0" * 400, b"0.5", b"-0.0", b"1e-400", b"1e999", b"nan", b"inf", b"NaN",
    b"-Infinity", b"0x10", b"1_000",
]  # fmt: skip

TOKENS = [
    *NUMBERS, b"null", b"true", b"[", b"[" * 5000, b"{}", b"[]", b'""', b'"\\ud800"', b'"\\n"', b"\xff\xfe",
    b"\xef\xbb\xbf", b"\0", b"\n", b"\r\n", b"=", b"#", b"[net]", b"%s{0}$", b"../../x", b"\xc2\x85", b"x" * 5000,
    struct.pack("<f", float("inf")), struct.pack("<f", float("nan")), struct.pack("<f", 3.4e38),
    struct.pack("<f", 1e-45), struct.pack("<i", 1), struct.pack("<i", -1), struct.pack("<q", -1),
    struct.pack("<q", 1 << 40), struct.pack(">I", 0x7FFFFFFF),
]  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e300, 10**400, 2**31, 2**64, "", "\n", "\ud800", "\0", "x" * 70000, [],
    [0], {}, [[]], float("nan"), float("inf"), float("-inf"), json.loads("[" * 40 + "]" * 40), {"a": {"a": []}},
]  # fmt: skip

_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_SECTION = re.compile(rb"(?m)^(?=\[)")


def mutated_bytes(random: Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """One to five changes that know nothing of the format."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        place, token = random.randrange(len(changed) + 1), random.choice(TOKENS)
        match random.randrange(9):
            case 0 if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
            case 1 if place < len(changed):
                changed[place] = random.randrange(256)
            case 2:
                changed[place:place] = token
            case 3:
                changed[place : place + len(token)] = token
            case 4:
                del changed[place : place + random.choice([1, 2, 4, 8, 100])]
            case 5:
                source = random.randrange(len(changed) + 1)
                changed[place:place] = changed[source : source + random.choice([1, 4, 20, 200])]
            case 6:
                del changed[place:]
            case 7:
                other = random.choice(corpus)
                changed[place:] = other[random.randrange(len(other) + 1) :]
            case _:
                changed = bytearray(_extreme_number(random, bytes(changed)))
    return bytes(changed[:MAX_BYTES])


def _extreme_number(random: Random, data: bytes) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    start, end = random.choice(found).span()
    return data[:start] + random.choice(NUMBERS) + data[end:]


def mutated_json(random: Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A value of the document exchanged, doubled or dropped; now and then, and where it is no JSON, bytes."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutated_bytes(random, data, corpus)
    if random.randrange(4) == 0 or not isinstance(document, dict | list):
        return mutated_bytes(random, data, corpus)
    _change_value(random, document)
    return json.dumps(document).encode()


def _change_value(random: Random, document: Any) -> None:
    parent = document
    while parent:
        keys = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = random.choice(keys)
        child = parent[key]
        if isinstance(child, dict | list) and child and random.randrange(5):
            parent = child
            continue
        other = random.choice(keys)
        match random.randrange(5):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.insert(other, child)
            case 1:
                parent[random.choice(["", "x", "\n", str(other)])] = child
            case 2:
                parent[key] = parent[other]
            case _:
                parent[key] = random.choice(VALUES)
        return


def mutated_cfg(random: Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Sections and options moved, doubled, dropped, taken from other files, given other values; or bytes changed."""
    if random.randrange(4) == 0:
        return mutated_bytes(random, data, corpus)
    sections = _SECTION.split(data)
    for _ in range(random.choice([1, 1, 2, 4])):
        place = random.randrange(len(sections))
        lines = sections[place].splitlines(keepends=True) or [b""]
        line = random.randrange(len(lines))
        match random.randrange(6):
            case 0:
                sections.insert(place, random.choice(_SECTION.split(random.choice(corpus))))
            case 1 if len(sections) > 1:
                del sections[place]
            case 2:
                lines.insert(line, random.choice(random.choice(corpus).splitlines(keepends=True) or [b"\n"]))
                sections[place] = b"".join(lines)
            case 3:
                del lines[line]
                sections[place] = b"".join(lines)
            case _:
                name, equals, _ = lines[line].partition(b"=")
                lines[line] = name + equals + random.choice(TOKENS[: len(NUMBERS) + 10]) + b"\n"
                sections[place] = b"".join(lines)
    return b"".join(sections)[:MAX_BYTES]


def mutated_container(random: Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """What a safetensors file says of its arrays, or what clprune wrote into it, by structure; or bytes changed."""
    way = random.randrange(3)
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        own = header["__metadata__"]["clprune"].encode("utf-8", "replace")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        way = 0
    if way == 0:
        return mutated_bytes(random, data, corpus)
    if way == 1:
        text = mutated_json(random, own, [own])
        header["__metadata__"]["clprune"] = text.decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = mutated_json(random, json.dumps(header).encode(), [own])
    return (len(changed).to_bytes(8, "little") + changed + data[8 + length :])[:MAX_BYTES]
