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
from dataclasses import asdict, dataclass
from typing import Any

from clprune.errors import UsageError
from clprune.pruning.bwsp import mask_bwsp
from clprune.pruning.method import Method

#: How many times as long as with `bwsp` everywhere the pruned layers may take. Our choice.
TIME_BUDGET = 1.05

VARIANTS = ("wsp", "bwsp")


@dataclass(frozen=True, kw_only=True)
class VariantCost:
    """What one variant of one layer costs: `time_ms` of the layer on a device; `loss` (nats) and `accuracy` (share) of
    the network on calibration images with this layer alone pruned. Loss is finer than accuracy and decides.
    """

    time_ms: float
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class VariantChoice:
    """The variant of one layer, why, and what both would cost."""

    layer: int
    variant: str
    reason: str
    wsp: VariantCost
    bwsp: VariantCost

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return asdict(self)


def choose_variants(
    costs: Mapping[int, Mapping[str, VariantCost]], *, time_budget: float = TIME_BUDGET
) -> tuple[VariantChoice, ...]:
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
        wsp, bwsp = costs[index]["wsp"], costs[index]["bwsp"]
        added_ms, saved_loss = wsp.time_ms - bwsp.time_ms, bwsp.loss - wsp.loss
        is_wsp = saved_loss >= 0 and added_ms <= max(spare_ms, 0.0)
        if is_wsp:
            spare_ms -= added_ms
        reason = _reason(added_ms=added_ms, saved_loss=saved_loss, is_wsp=is_wsp)
        variant = "wsp" if is_wsp else "bwsp"
        choices.append(VariantChoice(layer=index, variant=variant, reason=reason, wsp=wsp, bwsp=bwsp))
    return tuple(sorted(choices, key=lambda choice: choice.layer))


def _rank(variants: Mapping[str, VariantCost]) -> float:
    """Lower comes first: what `wsp` costs in time for each nat that it saves; what saves time as well, before all."""
    added_ms = variants["wsp"].time_ms - variants["bwsp"].time_ms
    saved_loss = variants["bwsp"].loss - variants["wsp"].loss
    if added_ms <= 0:
        return added_ms - 1e9
    return added_ms / saved_loss if saved_loss > 0 else float("inf")


def _reason(*, added_ms: float, saved_loss: float, is_wsp: bool) -> str:
    loss = f"wsp's loss is {abs(saved_loss):.3g} {'lower' if saved_loss >= 0 else 'higher'}"
    time = f"it is {abs(added_ms):.3g} ms {'slower' if added_ms > 0 else 'faster'}"
    if is_wsp:
        return f"{loss} and {time}, which the time budget allows" if added_ms > 0 else f"{loss} and {time}"
    return f"{loss}" if saved_loss < 0 else f"{loss}, but {time}: more than is left of the time budget"


METHOD = Method(
    name="abwsp",
    summary="wsp or bwsp for each layer, by measured time and loss",
    mask=mask_bwsp,  # for a layer without a choice: bwsp is where choosing begins
    in_winograd_domain=True,
)
