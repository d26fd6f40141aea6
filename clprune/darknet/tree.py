"""Trees of classes, as YOLO9000 has them: a line `name parent` per class. Source: darknet's tree.c."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from clprune.errors import DataError
from clprune.files import read_text


@dataclass(frozen=True, kw_only=True)
class Tree:
    """`parents[i]` is the class above class i, an earlier one, or -1. Neighbours under one parent are a group, whose
    probabilities add up to 1.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Classes of each group; groups follow one another."""
        return tuple(len(list(group)) for _, group in itertools.groupby(self.parents))


def read_tree(path: Path) -> Tree:
    """Read a tree file. Raises DataError, with the line of a class that names no earlier one as its parent."""
    text = read_text(path, error=DataError, expected="a tree of classes, lines of a name and its parent's number")
    names, parents = [], []
    for index, line in enumerate(text.rstrip().splitlines()):
        found = re.fullmatch(r"\s*(\S+)(?:\s+(-?[0-9]{1,9}))?\s*", line)
        parent = int(found[2] or -1) if found else -2
        if found is None or not -1 <= parent < index:
            message = f"expected a name and the number of an earlier class or -1, found {line.strip()[:60]!r}"
            raise DataError(message, path=path, line=index + 1)
        names.append(found[1])
        parents.append(parent)
    return Tree(names=tuple(names), parents=tuple(parents))
