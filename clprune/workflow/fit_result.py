"""What is asked of a fit, and what comes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clprune.container.model import Model
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.workflow.proof import Proof

if TYPE_CHECKING:
    from clprune.fitting.entry import Entry

#: A budget is kept where no more than this share is missing.
TOLERANCE = 0.03


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked for: milliseconds, how many times faster than the dense network, or at most so many points lost."""

    budget_ms: float | None = None
    speed_up: float | None = None
    most_loss: float | None = None

    def __post_init__(self) -> None:
        values = {"budget_ms": self.budget_ms, "speed_up": self.speed_up, "most_loss": self.most_loss}
        given = {name: value for name, value in values.items() if value is not None}
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise UsageError(f"{found}: expected one of budget_ms, speed_up and most_loss")
        ((name, value),) = given.items()
        least = 1 if name == "speed_up" else 0
        if not value > least:
            raise UsageError(f"{name} {value:g}: expected more than {least}")

    def budget(self, dense_ms: float) -> float:
        """Milliseconds beside a dense network that takes `dense_ms`; as many where only loss counts."""
        return self.budget_ms if self.budget_ms is not None else dense_ms / (self.speed_up or 1)


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """What was chosen for a layer, the share of its channels that stay, and the ways no slower that lose least.

    Milliseconds are those with the channels that stay.
    """

    layer: int
    kind: str
    chosen: Entry
    channels_kept: float
    runners_up: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        others = [entry.to_dict() for entry in self.runners_up]
        facts = {"layer": self.layer, "kind": self.kind, "channels_kept": self.channels_kept}
        return {**facts, **self.chosen.to_dict(), "runners_up": others}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The fitted `model`, what was promised and what the device measured.

    `budget_ms` is the budget beside the dense time of `proof`, None where points were asked for. `dense_table_ms` is
    the dense network's time when the table was measured. `divergence` is that of the answers before retraining
    (`clprune.training.refit.Refitted`). `is_met`: the budget is kept within `TOLERANCE`, or no more points are lost
    than allowed.
    """

    model: Model
    data: str
    device: DeviceInfo
    budget_ms: float | None
    most_loss: float | None
    promised_ms: float
    dense_table_ms: float
    divergence: float
    losses: tuple[float, ...]
    proof: Proof
    layers: tuple[LayerChoice, ...]
    attempts: int
    is_met: bool
    written: tuple[Path, Path] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        own = (
            *("data", "budget_ms", "most_loss", "promised_ms", "dense_table_ms"),
            *("divergence", "attempts", "is_met"),
        )
        files = {} if self.written is None else {"cfg": str(self.written[0]), "weights": str(self.written[1])}
        return {
            **files, **self.device.facts, **{name: getattr(self, name) for name in own}, "losses": list(self.losses),
            **asdict(self.proof), "points_lost": self.proof.points_lost,
            "speed_up": self.proof.dense_ms / self.proof.fitted_ms, "layers": [one.to_dict() for one in self.layers],
        }  # fmt: skip
