"""`--method` and the options of all pruning methods, made of what each method declares."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.numbers import FINITE, WHOLE, FiniteRange, WholeRange

if TYPE_CHECKING:
    from clprune.pruning.options import Option, Options


class MethodCommand(click.Command):
    """A command with `--method` and every method's options, which are looked for only where they are parsed or shown.

    The command gets the method's name as `method` and passes its options to `take_method_options`.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters and those of the methods that it does not have itself, before `--help`."""
        own = super().get_params(ctx)
        names = {parameter.name for parameter in own}
        return [*own[:-1], *(each for each in _parameters() if each.name not in names), *own[-1:]]


@cache
def _parameters() -> tuple[click.Option, ...]:
    from clprune.pruning.registry import list_methods, method_options

    method = click.Option(
        ["--method"], metavar="M", default="workgroup", show_default=True,
        help=f"Pruning method: {_listed(list_methods())}.",
    )  # fmt: skip
    return (method, *(_as_parameter(option, methods) for option, methods in method_options().values()))


def _as_parameter(option: Option, methods: tuple[str, ...]) -> click.Option:
    flag = option.name.replace("_", "-")
    meaning = f"{', '.join(methods)}: {option.help}"
    if option.default is not None:
        shown = flag_of(option.name, option.default) if option.type is bool else option.default
        meaning = f"{meaning} Default: {shown}."
    if option.type is bool:
        return click.Option([f"--{flag}/--no-{flag}", option.name], default=None, help=meaning)
    metavar = "|".join(map(str, option.choices)) or {int: "N", float: "F"}.get(option.type, "TEXT")
    return click.Option([f"--{flag}", option.name], type=_kind(option), default=None, metavar=metavar, help=meaning)


def _kind(option: Option) -> Any:
    """What click makes of the text; what is none of the option's choices is refused by its method."""
    lowest = option.least if option.above is None else option.above
    if lowest is None and option.most is None:
        return {int: WHOLE, float: FINITE}.get(option.type, option.type)
    bounds: dict[str, Any] = {"min": lowest, "max": option.most, "min_open": option.above is not None}
    return WholeRange(**bounds) if option.type is int else FiniteRange(**bounds)


def take_given(options: dict[str, Any]) -> dict[str, Any]:
    """Take the methods' options out of `options`: those that were given, by name."""
    from clprune.pruning.registry import method_options

    values = {name: options.pop(name) for name in method_options()}
    return {name: value for name, value in values.items() if value is not None}


def make_options(method: str, given: dict[str, Any]) -> Options:
    """The method's options out of what `take_given` gave. Raises UsageError, also for one that the method has not."""
    from clprune.errors import UsageError
    from clprune.pruning.options import declared_options
    from clprune.pruning.registry import get_method, method_options

    kind = get_method(method).options
    known = {option.name for option in declared_options(kind)}
    for name, value in given.items():
        if name not in known:
            having = _listed(method_options()[name][1])
            raise UsageError(f"{flag_of(name, value)} with --method {method}: expected {having}")
    return kind(**given)


def take_method_options(options: dict[str, Any]) -> Options:
    """Take the options of its `method` out of `options`. Raises UsageError, also for one that the method has not."""
    return make_options(options["method"], take_given(options))


def flag_of(name: str, value: Any) -> str:
    """What was written to give an option that value."""
    flag = name.replace("_", "-")
    return {True: f"--{flag}", False: f"--no-{flag}"}[value] if isinstance(value, bool) else f"--{flag} {value}"


def _listed(names: tuple[str, ...]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
