"""What the papers claim of their methods, held against the table: found, by how much, and whether it holds here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tools.compare.curves import front, time_at
from tools.compare.results import Point, Spread

#: Time of the convolutions over the dense one's at GOAL_SPARSITY, at most, for every column method.
CONVOLUTION_GOAL = 0.32

#: Share of the convolutions' weights that is removed there.
GOAL_SPARSITY = 0.75

#: Ratios of times this near to 1 are no difference.
NOISE = 0.01

#: Times that differ by no more than this share are the same.
SAME_TIME = 0.05

#: Work-groups per compute unit from which on uneven ones even out.
MANY_GROUPS = 4

#: Shares from which on permutation is claimed to help.
FINE_SHARES = 0.87

COLUMN_METHODS = ("wavefront", "workgroup", "bcbp")
RIVALS = ("filter", "block", "balanced", "unstructured")

Measure = Callable[[Point], float | None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line: a claim about `subject`, what was `found`, and whether it `holds` (None: it has no goal).

    `is_of_time`: it depends on measured times.
    """

    claim: str
    subject: str
    found: str
    holds: bool | None
    is_of_time: bool = False


def all_verdicts(points: Sequence[Point]) -> list[Verdict]:
    """Every claim, in the order of the papers; claims about variants that are not there are left out."""
    table = _Table(points)
    return [
        *_more_accurate(table, "BCBP: more accurate", "bcbp", ("filter", "block")),
        *_against_filters(table),
        *_balance(table),
        *(line for method in ("workgroup", "wavefront") for line in _faster(table, method)),
        *_on_the_front(table),
        *_more_accurate(table, "mixed: more accurate", "mixed", ("block", "balanced")),
        *_permutation(table),
        *_against_dense(table),
    ]


class _Table:
    """Points by method, without and with permutation."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = points

    def of(self, method: str, *, permute: bool = False) -> dict[float, Point]:
        return {point.sparsity: point for point in self.points if point.method == method and point.permute == permute}


def _of_time(claim: str, subject: str, found: str, holds: bool) -> Verdict:
    return Verdict(claim=claim, subject=subject, found=found, holds=holds, is_of_time=True)


def _accuracy(
    claim: str, subject: str, mine: Mapping[float, Point], others: Mapping[float, Point], *, has_goal: bool = True
) -> list[Verdict]:
    """How much more accurate `mine` are than `others` at the same share; nothing where no share is in both."""
    gains = _gains(mine, others)
    if not gains:
        return []
    holds = all(spread.mean > 0 for spread in gains.values()) if has_goal else None
    return [Verdict(claim=claim, subject=subject, found=_by_share(gains, scale=100, unit=" points"), holds=holds)]


def _more_accurate(table: _Table, claim: str, method: str, rivals: Iterable[str]) -> list[Verdict]:
    mine = table.of(method)
    return [line for rival in rivals for line in _accuracy(claim, f"{method} against {rival}", mine, table.of(rival))]


def _against_filters(table: _Table) -> list[Verdict]:
    """bcbp against filter pruning at the same share of units: of columns of tiles there, of filters here."""
    rivals = {round(point.method_sparsity, 4): point for point in table.of("filter").values()}
    subject = "bcbp against filter, which then keeps the square of the share"
    return _accuracy("BCBP: more accurate at the same share of filters", subject, table.of("bcbp"), rivals)


def _balance(table: _Table) -> list[Verdict]:
    """bcbp against wavefront, which is the same unit without balance."""
    balanced, unbalanced = table.of("bcbp"), table.of("wavefront")
    cost = "BCBP: what balance costs in accuracy"
    accuracy = _accuracy(cost, "bcbp against wavefront", balanced, unbalanced, has_goal=False)
    ratios = _ratios(balanced, unbalanced, _conv)
    if not ratios:
        return accuracy
    pairs = {share: (unbalanced[share].times, balanced[share].times) for share in sorted(ratios)}
    imbalances = ", ".join(
        f"{_percent(share)}: {one['imbalance']:.2f} to {other['imbalance']:.2f}"
        for share, (one, other) in pairs.items()
        if "imbalance" in one and "imbalance" in other
    )
    groups = min(one["groups_per_unit"] for one, _ in pairs.values())
    why = (
        f"; each compute unit works through {groups:.0f} work-groups of a layer in turn, so that the fullest row "
        "block does not set the time"
    )
    faster = _of_time(
        "BCBP: faster than the same unit without balance",
        "convolutions, bcbp over wavefront",
        f"{_ratios_text(ratios)}; fullest row block over the mean {imbalances}{why if groups >= MANY_GROUPS else ''}",
        all(ratio < 1 - NOISE for ratio in ratios.values()),
    )
    return [faster, *accuracy]


def _faster(table: _Table, method: str) -> list[Verdict]:
    """Time of each rival over the method's at the rival's accuracy."""
    lines = []
    mine = list(table.of(method).values())
    for rival in RIVALS:
        found = {share: _time_ratios(mine, point) for share, point in sorted(table.of(rival).items())}
        ratios = {share: Spread.of(values) for share, values in found.items() if values}
        beyond = [_percent(share) for share, values in found.items() if values == []]
        if ratios or beyond:
            rest = f"; more accurate than any {method}: {', '.join(beyond)}" if beyond else ""
            text = f"{_by_share(ratios, scale=1, unit='x')}{rest}"
            holds = bool(ratios) and not beyond and all(ratio.mean > 1 for ratio in ratios.values())
            lines.append(_of_time("Choi & Yang: faster at equal accuracy", f"{rival} over {method}", text, holds))
    return lines


def _time_ratios(mine: Sequence[Point], rival: Point) -> list[float] | None:
    """Per seed the rival's time over that at which `mine`, or the dense network, reach its accuracy; None: no times."""
    rival_time = _whole(rival)
    if rival_time is None or any(_whole(point) is None for point in mine) or not mine:
        return None
    ratios = []
    for seed, accuracy in rival.accuracies.items():
        places = [(point.accuracies[seed], _whole(point) or 0.0) for point in mine if seed in point.accuracies]
        needed = time_at([*places, (rival.dense_accuracy, 1.0)], accuracy)
        if needed is not None:
            ratios.append(rival_time / needed)
    return ratios


def _on_the_front(table: _Table) -> list[Verdict]:
    measured = [point for point in table.points if _whole(point) is not None]
    if not measured:
        return []
    edge = front([(point.accuracy.mean, _whole(point) or 0.0) for point in measured])
    on_it = [point for point in measured if (point.accuracy.mean, _whole(point)) in edge]
    names = [
        f"{point.variant} {_percent(point.sparsity)}" for point in sorted(on_it, key=lambda point: -point.accuracy.mean)
    ]
    holds = {"wavefront", "workgroup"} <= {point.method for point in on_it}
    claim, subject = "Choi & Yang: on the Pareto front", "accuracy and time of the whole network"
    return [_of_time(claim, subject, ", ".join(names), holds)]


def _permutation(table: _Table) -> list[Verdict]:
    lines = []
    for method in COLUMN_METHODS:
        plain = {share: point for share, point in table.of(method).items() if share >= FINE_SHARES}
        permuted = table.of(method, permute=True)
        gains, times = _gains(permuted, plain), _ratios(permuted, plain, _whole)
        if gains:
            accuracy = _by_share(gains, scale=100, unit=" points")
            is_better = all(spread.mean > 0 for spread in gains.values())
            lines.append(
                Verdict(
                    claim="OVW: permutation raises accuracy at unchanged time",
                    subject=method,
                    found=f"{accuracy}; time over unpermuted {_ratios_text(times) or 'not measured'}",
                    holds=is_better and all(abs(ratio - 1) <= SAME_TIME for ratio in times.values()),
                )
            )
    return lines


def _against_dense(table: _Table) -> list[Verdict]:
    lines = []
    for method in COLUMN_METHODS:
        for permute in (False, True):
            point = table.of(method, permute=permute).get(GOAL_SPARSITY)
            ratio = None if point is None else _conv(point)
            if point is not None and ratio is not None:
                direct = point.times.get("direct_conv_time_ratio", ratio)
                claim = f"Convolutions at 75 %: at most {CONVOLUTION_GOAL} of dense"
                found = f"{ratio:.3f} of the dense network's, {direct:.3f} of its direct convolutions'"
                lines.append(_of_time(claim, point.variant, found, ratio <= CONVOLUTION_GOAL))
    return lines


def _gains(mine: Mapping[float, Point], others: Mapping[float, Point]) -> dict[float, Spread]:
    """Differences of accuracy, seed by seed, at the shares of both."""
    gains = {}
    for share in mine.keys() & others.keys():
        one, other = mine[share].accuracies, others[share].accuracies
        if seeds := sorted(one.keys() & other.keys()):
            gains[share] = Spread.of(one[seed] - other[seed] for seed in seeds)
    return gains


def _ratios(mine: Mapping[float, Point], others: Mapping[float, Point], measure: Measure) -> dict[float, float]:
    """Times of `mine` over those of `others`, at the shares at which both were measured."""
    found = {share: (measure(mine[share]), measure(others[share])) for share in mine.keys() & others.keys()}
    return {share: one / other for share, (one, other) in found.items() if one is not None and other is not None}


def _ratios_text(ratios: Mapping[float, float]) -> str:
    return ", ".join(f"{_percent(share)}: {ratio:.3f}" for share, ratio in sorted(ratios.items()))


def _whole(point: Point) -> float | None:
    return point.times.get("time_ratio")


def _conv(point: Point) -> float | None:
    return point.times.get("conv_time_ratio")


def _by_share(spreads: dict[float, Spread], *, scale: float, unit: str) -> str:
    return ", ".join(
        f"{_percent(share)}: {spread.text(scale=scale)}{unit}" for share, spread in sorted(spreads.items())
    )


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
