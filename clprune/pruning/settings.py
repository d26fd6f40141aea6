"""What to remove from a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.errors import UsageError
from clprune.pruning.method import Method
from clprune.pruning.options import NO_OPTIONS, Options
from clprune.pruning.registry import get_method
from clprune.pruning.unit import check_sparsity
from clprune.pruning.winograd import WinogradOptions, output_tile
from clprune.unit import Unit

UnitForLayer = Callable[[MatrixLayer], Unit]


def one_row(layer: MatrixLayer) -> Unit:
    """The unit where no tile says more: a row's weights go one by one."""
    return Unit(rows=1)


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """What to remove from a network.

    `sparsity` is the target of the convolutions, `fc_sparsity` of the connected layers (None: they stay dense), both
    shares of units in [0, 1). `unit_for_layer` gives the tuned tile's unit (`in_units`). `allocation` shares the
    convolutions' target among them. The first convolution stays dense unless `first_dense` is False: it has few
    weights, and all that the network ever sees passes through it. Without a `criterion` the method's own counts.

    `permute` reorders output channels first (`clprune.pruning.permute`). `options` are the method's own
    (`NO_OPTIONS`: its defaults). `variants` is what was chosen for a layer, by index, where the method is one of
    several in each (`Method.selection`). Raises UsageError.
    """

    method: str
    sparsity: float
    unit_for_layer: UnitForLayer = one_row
    fc_sparsity: float | None = None
    criterion: str | None = None
    allocation: str = "uniform"
    first_dense: bool = True
    permute: bool = False
    options: Options = NO_OPTIONS
    variants: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = get_method(self.method).options
        if type(self.options) is not Options and not isinstance(self.options, expected):
            raise UsageError(f"{self.options} for the method {self.method}: expected {expected.__name__}")
        for share in (self.sparsity, self.fc_sparsity or 0.0):
            check_sparsity(share)

    def in_units(self, units: Mapping[int, Unit]) -> PruneSettings:
        """The same settings in the unit of each layer, by index."""
        return replace(self, unit_for_layer=lambda layer: units[layer.index])

    @property
    def criterion_name(self) -> str:
        """The criterion that counts."""
        return self.criterion or get_method(self.method).criterion

    @property
    def removes_channels(self) -> bool:
        """Whether whole output channels go, and the network becomes smaller."""
        return get_method(self.method).removes_channels

    @property
    def winograd(self) -> int | None:
        """The output tile m of a method that prunes in the Winograd domain of F(m x m, 3 x 3), None for any other."""
        return asked_output_tile(self.method, self.options)

    def output_tile(self, layer: Layer) -> int | None:
        """The tile m of a layer that is pruned in the Winograd domain, None for any other."""
        return None if self.winograd is None else output_tile(layer, winograd=self.winograd)

    def method_of(self, layer: Layer) -> Method:
        """The method of one layer: that of the settings, unless it is chosen by layer or has its own elsewhere."""
        method = get_method(self.method)
        if method.elsewhere is not None and self.output_tile(layer) is None:
            return method.elsewhere
        if method.selection is not None:
            return get_method(self.variants.get(layer.index, method.selection.initial))
        return method


def asked_output_tile(method: str, options: Options = NO_OPTIONS) -> int | None:
    """The output tile m that a method prunes for with these options, None in the spatial domain."""
    own = get_method(method).own_options(options)
    return own.winograd if isinstance(own, WinogradOptions) else None
