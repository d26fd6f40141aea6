"""The ways in which a layer may be pruned and stored: methods, heights of units, shares, bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.fitting.stored import FLOAT_BITS
from clprune.pruning.network import plan_pruning
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.unit import Unit

#: Methods that a layer may be pruned by where nobody says otherwise; `filter` removes channels.
METHODS = ("workgroup", "bcbp", "bwsp", "block", "unstructured", "filter")

#: Rows of a unit: those of the tuned tile (None), and fewer, which lose less.
UNIT_ROWS = (None, 4)

#: Shares of units removed that are measured, and those between that may be interpolated.
MEASURED_SHARES = (0.5, 0.75, 0.875, 0.9375)
BETWEEN_SHARES = (0.625, 0.8125, 0.90625)

#: Shares of a group's channels removed.
CHANNEL_SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A method and the rows of its units (None: those of the tile that runs the layer)."""

    method: str
    unit_rows: int | None = None

    def __str__(self) -> str:
        return self.method if self.unit_rows is None else f"{self.method} {self.unit_rows}"

    @property
    def removes_channels(self) -> bool:
        """Whether whole channels go."""
        return get_method(self.method).removes_channels

    def settings(self, sparsity: float) -> PruneSettings:
        """All layers that may be pruned, by this share."""
        return PruneSettings(method=self.method, sparsity=sparsity, fc_sparsity=sparsity)

    def plan(
        self, network: Network, weights: Weights, sparsity: float, tile_rows: Mapping[int, int]
    ) -> dict[int, PruneOptions]:
        """How each layer is pruned, by index; `tile_rows` are those of the tiles. Raises UsageError."""
        rows = self.unit_rows
        units = {index: Unit(rows=found if rows is None else rows) for index, found in tile_rows.items()}
        return plan_pruning(network, weights, self.settings(sparsity).in_units(units))


@dataclass(frozen=True, kw_only=True)
class Way:
    """What all layers are at once when they are timed: pruned by a kind at a share or dense, and stored in `bits`."""

    kind: Kind | None = None
    share: float = 0.0
    bits: int = FLOAT_BITS

    def __str__(self) -> str:
        pruned = "dense" if self.kind is None else f"{self.kind} {self.share:g}"
        return pruned if self.bits == FLOAT_BITS else f"{pruned} {self.bits} bits"


def ways_of(kinds: tuple[Kind, ...], bits: tuple[int, ...]) -> tuple[Way, ...]:
    """All that are timed, the dense one first; weights in the Winograd domain are float32, and so are thin networks."""
    sparse = [(kind, share) for kind in kinds if not kind.removes_channels for share in MEASURED_SHARES]
    thin = [(kind, share) for kind in kinds if kind.removes_channels for share in CHANNEL_SHARES]
    plain = [Way(), *(Way(kind=kind, share=share) for kind, share in (*sparse, *thin))]
    coded = [
        Way(kind=kind, share=share, bits=count)
        for kind, share in [(None, 0.0), *sparse]
        for count in bits
        if kind is None or kind.settings(share).winograd is None
    ]
    return (*plain, *coded)


def kinds_of(methods: tuple[str, ...]) -> tuple[Kind, ...]:
    """Every method with every height that makes a difference to it. Raises UsageError for unknown ones."""
    if not methods:
        raise UsageError("no methods: expected one or more")
    kinds = []
    for name in methods:
        method = get_method(name)
        if method.selection is not None:
            raise UsageError(f"method {name} chooses among others: expected those themselves")
        has_heights = method.has_unit_rows and not method.removes_channels
        kinds += [Kind(method=name, unit_rows=rows) for rows in (UNIT_ROWS if has_heights else (None,))]
    return tuple(kinds)
