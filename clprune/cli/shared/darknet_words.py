"""Darknet's command line: words in their order, and flags with one dash anywhere among them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.infer import lines_of_stdin
from clprune.cli.shared.numbers import finite_number
from clprune.darknet.data_file import DataFile, read_data_file
from clprune.errors import UsageError

if TYPE_CHECKING:
    from clprune.detection import Dialect

#: Flags with a value, and flags without; those that choose a GPU or what is shown on a screen change nothing here.
_WITH_VALUE = frozenset(
    {"-thresh", "-hier", "-iou_thresh", "-out", "-points", "-t", "-dialect", "-i", "-gpus", "-prefix", "-mjpeg_port"}
)
_SWITCHES = frozenset({"-ext_output", "-letter_box", "-save_labels", "-nogpu", "-dont_show", "-show", "-fullscreen"})


@dataclass(frozen=True, kw_only=True)
class Words:
    """What follows `detector test` and its like: a .data file, a cfg, weights, an image; and the flags.

    `default_dialect` is the fork whose rules and words hold unless `-dialect` says otherwise.
    """

    words: Sequence[str]
    flags: Mapping[str, str]
    default_dialect: str

    @classmethod
    def of(cls, arguments: Sequence[str], *, default_dialect: str) -> Words:
        """Raises UsageError for too few or too many words, and for flags that are not known."""
        words, flags = [], {}
        waiting = iter(arguments)
        for argument in waiting:
            if not argument.startswith("-") or argument == "-":
                words.append(argument)
            elif argument in _SWITCHES:
                flags[argument] = ""
            elif argument in _WITH_VALUE:
                flags[argument] = next(waiting, "")
                if not flags[argument]:
                    raise UsageError(f"{argument} without a value")
            else:
                known = " ".join(sorted(_WITH_VALUE | _SWITCHES))
                raise UsageError(f"unknown flag {argument}: expected one of {known}")
        if not 2 <= len(words) <= 4:
            raise UsageError(f"{len(words)} words: expected DATA CFG [WEIGHTS [IMAGE]]")
        return cls(words=words, flags=flags, default_dialect=default_dialect)

    @property
    def data(self) -> DataFile:
        """The .data file. Raises DataError."""
        return read_data_file(self.words[0])

    @property
    def model(self) -> tuple[str, str | None]:
        """The cfg and the weights, None for those beside it."""
        return self.words[1], self.words[2] if len(self.words) > 2 else None

    @property
    def dialect(self) -> Dialect:
        """Whose rules hold; whoever reads the model refuses what is none."""
        chosen: Any = self.flags.get("-dialect", self.default_dialect)
        return chosen  # type: ignore[no-any-return]

    @property
    def device(self) -> str | None:
        """As for `--device`."""
        return "cpu" if "-nogpu" in self.flags else None

    def number(self, flag: str, default: float) -> float:
        """The value of a flag. Raises UsageError unless it is a number."""
        text = self.flags.get(flag, str(default))
        try:
            return finite_number(text)
        except ValueError as error:
            raise UsageError(f"{flag} {text[:40]!r}: {error}") from error

    def whole(self, flag: str, default: int) -> int:
        """The value of a flag, without what is behind the point as darknet has it. Raises UsageError."""
        return int(self.number(flag, default))

    def images(self) -> Iterator[str]:
        """The image that is named, or else those that standard input names, each asked for as darknet does."""
        if len(self.words) > 3:
            yield self.words[3]
            return
        lines = lines_of_stdin(asks=False)
        while True:
            click.echo("Enter Image Path: ", nl=False)
            sys.stdout.flush()
            path = next(lines, None)
            if path is None:
                return
            yield path


def base_name(path: Path) -> str:
    """The file's name up to its first dot (darknet's basecfg)."""
    return path.name.partition(".")[0]
