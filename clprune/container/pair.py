"""A cfg and its weights as one thing: written together, and told apart from files that do not belong together.

The cfg names the SHA-256 of its weights in a comment, which darknet skips.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from clprune.darknet.cfg import read_cfg_text
from clprune.errors import ClpruneWarning, WeightsError
from clprune.files import atomic_writer, open_file

_MARK = "# clprune: its weights have sha256 "
_LINE = re.compile(rf"^{_MARK}([0-9a-f]{{64}})\s*(?:\n|\Z)", re.MULTILINE)

#: Bytes that are read at once for a digest.
_CHUNK_BYTES = 1 << 20


class PairWarning(ClpruneWarning):
    """Weights are not those that their cfg was written with."""


def save_pair(cfg: Path, weights: Path, *, text: str, content: Iterable[bytes | memoryview]) -> None:
    """Write a cfg of this `text` and its weights, both or none: each aside, and the cfg takes its name last.

    A process that ends between the two leaves a cfg that names other weights: `check_pair` says so. Raises FileError.
    """
    digest = hashlib.sha256()
    newline = "\r\n" if "\r\n" in text else "\n"
    with atomic_writer(cfg) as cfg_file, atomic_writer(weights) as weights_file:
        for chunk in content:
            digest.update(chunk)
            weights_file.write(chunk)
        text = _LINE.sub("", text)
        ending = "" if text.endswith("\n") else newline
        cfg_file.write(f"{text}{ending}{_MARK}{digest.hexdigest()}{newline}".encode("utf-8", "surrogateescape"))
        cfg_file.flush()  # a disk that is full shows before either has its name


def names_weights(cfg: Path) -> bool:
    """Whether a cfg names its weights. Raises CfgError."""
    return _LINE.search(read_cfg_text(cfg)) is not None


def check_pair(cfg: Path, weights: Path) -> None:
    """Raise WeightsError where `weights`, of the same stem as `cfg`, are not those that it was written with.

    Other files are somebody's choice: they earn a PairWarning. A cfg that names no weights takes any.
    """
    named = _LINE.search(read_cfg_text(cfg))
    if named is None:
        return
    digest = hashlib.sha256()
    with open_file(weights, error=WeightsError) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() == named[1]:
        return
    found = f"not the weights that {cfg} was written with (sha256 {digest.hexdigest()[:12]}, expected {named[1][:12]})"
    if weights.with_suffix("") != cfg.with_suffix(""):
        warnings.warn(PairWarning(f"{weights}: {found}"), stacklevel=3)
        return
    advice = f"write both again, or remove the comment '{_MARK}...' from the cfg to run them all the same"
    raise WeightsError(f"{found}: one was replaced, or its run was ended; {advice}", path=weights)
