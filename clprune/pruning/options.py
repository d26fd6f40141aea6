"""A method's own options, declared once: what checks them, and what makes command-line options of them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from clprune.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its `name`, `type` (int, float, str or bool; None is allowed where it is the default) and meaning.

    A value is one of `choices` (any, where there are none), at least `least`, more than `above` and at most `most`.
    """

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None

    def check(self, value: Any) -> None:
        """Raise UsageError for a value that the option cannot have."""
        if value is None and self.default is None:
            return
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name} {value!r}: expected one of {', '.join(map(str, self.choices))}")
        bounds = {
            "at least": (self.least, self.least is None or value >= self.least),
            "more than": (self.above, self.above is None or value > self.above),
            "at most": (self.most, self.most is None or value <= self.most),
        }
        if not all(holds for _, holds in bounds.values()):
            expected = " and ".join(f"{words} {bound}" for words, (bound, _) in bounds.items() if bound is not None)
            raise UsageError(f"{self.name} {value}: expected {expected}")


def option(default: Any, *, help: str, **facts: Any) -> Any:
    """A field of a method's `Options`; `help` and `facts` are those of `Option`."""
    return field(default=default, metadata={"help": help, **facts})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a method can be asked for beside what all methods know; a subclass has a field made by `option` for each.

    Its fields are options of the command line (`vector_kept_share` is `--vector-kept-share`), and checked when an
    instance is made: UsageError.
    """

    def __post_init__(self) -> None:
        for declared in declared_options(type(self)):
            declared.check(getattr(self, declared.name))


def declared_options(options: type[Options]) -> tuple[Option, ...]:
    """The options that the class declares, in the order of its fields."""
    hints = get_type_hints(options)
    return tuple(
        Option(name=item.name, type=_plain(hints[item.name]), default=item.default, **item.metadata)
        for item in fields(options)
        if item.default is not MISSING
    )


def _plain(hint: Any) -> type:
    """`int` of `int | None`."""
    (plain,) = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    kind: type = plain
    return kind


#: Those of a method that has none; for any other method they stand for its defaults.
NO_OPTIONS = Options()
