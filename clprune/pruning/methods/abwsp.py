"""`abwsp`: each layer by `wsp` or by `bwsp`, whichever its measured time and its loss speak for.

Known: WINS, ICCV 2025 (10.1109/ICCV51701.2025.02087), picks per layer WSP or BWSP automatically from accuracy and
measured speed.
Our choice of how: each variant of each layer is timed, and judged by the loss on calibration images with this layer
alone pruned and batch normalization's statistics estimated anew. Beginning with `bwsp` everywhere, layers go over to
`wsp` in the order of the loss that this saves per millisecond, as long as all pruned layers together take no more than
`time_budget` times what they take with `bwsp`.

Nothing here knows a device or PyTorch: times and losses are values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clprune.errors import UsageError
from clprune.pruning.methods import bwsp, wsp
from clprune.pruning.variants import Costs, Selection, VariantChoice, VariantCost

#: How many times as long as with `bwsp` everywhere the pruned layers may take. Our choice.
TIME_BUDGET = 1.05

VARIANTS = (wsp.METHOD.name, bwsp.METHOD.name)


def choose_variants(costs: Costs, *, time_budget: float = TIME_BUDGET) -> tuple[VariantChoice, ...]:
    """`wsp` or `bwsp` for each layer of `costs` (layer index -> variant -> cost), by layer index.

    `wsp` where it loses nothing in time and nothing in loss; then, by loss saved per millisecond, where it saves loss
    and the budget allows the time. Raises UsageError for a budget below 1 and for costs of other variants.
    """
    if not time_budget >= 1:
        raise UsageError(f"a time budget of {time_budget} times bwsp's: expected at least 1")
    for index, variants in costs.items():
        if set(variants) != set(VARIANTS):
            raise UsageError(
                f"layer {index}: costs of {', '.join(sorted(variants))}; expected {' and '.join(VARIANTS)}"
            )
    spare_ms = (time_budget - 1) * sum(variants["bwsp"].time_ms for variants in costs.values())
    choices = []
    for index in sorted(costs, key=lambda index: _rank(costs[index])):
        added_ms, saved_loss = _added_ms(costs[index]), _saved_loss(costs[index])
        is_wsp = saved_loss >= 0 and added_ms <= max(spare_ms, 0.0)
        if is_wsp:
            spare_ms -= added_ms
        reason = _reason(added_ms=added_ms, saved_loss=saved_loss, is_wsp=is_wsp)
        variant = "wsp" if is_wsp else "bwsp"
        choices.append(VariantChoice(layer=index, variant=variant, reason=reason, costs=costs[index]))
    return tuple(sorted(choices, key=lambda choice: choice.layer))


def _added_ms(variants: Mapping[str, VariantCost]) -> float:
    return variants["wsp"].time_ms - variants["bwsp"].time_ms


def _saved_loss(variants: Mapping[str, VariantCost]) -> float:
    return variants["bwsp"].loss - variants["wsp"].loss


def _rank(variants: Mapping[str, VariantCost]) -> float:
    """Lower comes first: what `wsp` costs in time for each nat that it saves; what saves time as well, before all."""
    added_ms, saved_loss = _added_ms(variants), _saved_loss(variants)
    if added_ms <= 0:
        return added_ms - 1e9
    return added_ms / saved_loss if saved_loss > 0 else float("inf")


def _reason(*, added_ms: float, saved_loss: float, is_wsp: bool) -> str:
    loss = f"wsp's loss is {abs(saved_loss):.3g} {'lower' if saved_loss >= 0 else 'higher'}"
    time = f"it is {abs(added_ms):.3g} ms {'slower' if added_ms > 0 else 'faster'}"
    if is_wsp:
        return f"{loss} and {time}, which the time budget allows" if added_ms > 0 else f"{loss} and {time}"
    return f"{loss}" if saved_loss < 0 else f"{loss}, but {time}: more than is left of the time budget"


METHOD = replace(
    bwsp.METHOD,
    name="abwsp",
    summary="wsp or bwsp for each layer, by measured time and loss",
    selection=Selection(variants=VARIANTS, initial=bwsp.METHOD.name, choose=choose_variants),
)
