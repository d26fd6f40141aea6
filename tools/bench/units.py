"""How to prune a layer so that it is fastest on a device: the tile's rows, the unit and the domain are found together.

A tile tuned for units of 8 rows says nothing of how fast units of 16 would be, so each height is a workload of its own
in the tuning database; per layer the one with the fastest tile counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from clprune.algorithms import Algorithms
from clprune.container.model import Model
from clprune.darknet.kinds.base import Layer, PruneOptions
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.kernels.base import Offer
from clprune.kernels.matrix_unit import UNIT_ROWS
from clprune.kernels.workload import WeightForm, Workload
from clprune.opencl import Session
from clprune.plan.forms import rounded_share
from clprune.plan.plan import make_plan
from clprune.plan.pruned import tile_units
from clprune.plan.steps import Chosen
from clprune.precision import FLOAT32
from clprune.pruning.network import apply_masks, masks_of, prunable_layers, prune_layers, with_prune_options
from clprune.pruning.winograd import to_winograd_domain
from clprune.quirks import vector_registers
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import Store
from clprune.tuning.effort import Effort
from clprune.tuning.tune import offers_to_tune, tune
from clprune.unit import Unit
from clprune.workflow.tune import refine_in_network, without_tuned
from tools.terminal import Say

#: Unit rows of convolutions where nobody says which, by registers: those of the tiles that turn out to be fastest.
#: With 16 of them 4 and 8 rows take 1.07 to 1.65 times as long for VGG16's.
CONVOLUTION_ROWS = {16: (6,), 32: (8,)}
CONNECTED_ROWS = (32,)

#: Unit rows tried as well where the output is at most SMALL_SIDE wide and high: channels lie along vectors there.
SMALL_IMAGE_ROWS = (16, 32)
SMALL_SIDE = 14

#: Output tile of the Winograd domain in which layers may be pruned.
WINOGRAD_OUTPUT_TILE = 4

#: Layers with fewer input channels have too few units to choose from in the Winograd domain.
FEWEST_WINOGRAD_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a network is run: shares of units removed from convolutions but the first and from connected layers, how the
    latter's weights lie in memory, and by which algorithms and with which precision convolutions may be computed. Zero
    shares leave it dense.

    With "winograd" among the `algorithms` each layer is pruned in the domain where it is faster; for matrix units, in
    units of their rows.
    """

    name: str
    sparsity: float = 0.0
    fc_sparsity: float = 0.0
    connected_storage: str = "float32"
    algorithms: tuple[str, ...] = ("direct",)
    precision: str = FLOAT32

    @property
    def choice(self) -> Algorithms:
        """What a Runner is told."""
        return Algorithms(names=self.algorithms, precision=self.precision)

    @property
    def is_dense(self) -> bool:
        """Nothing is removed."""
        return not self.sparsity and not self.fc_sparsity

    @property
    def weights_name(self) -> str:
        """The same for variants that run the same weights."""
        if self.is_dense:
            return "dense"
        domains = "-winograd" if "winograd" in self.algorithms else ""
        units = "" if self.precision == FLOAT32 else f"-{self.precision}"
        return f"{100 * self.sparsity:g}-{100 * self.fc_sparsity:g}{domains}{units}"

    def kept_shares(self, network: Network) -> dict[int, float]:
        """Layer index -> share of units kept, of the layers that lose some."""
        convolutions, connected = prunable_layers(network)
        removed = {layer.index: self.sparsity for layer in convolutions}
        removed |= {layer.index: self.fc_sparsity for layer in connected}
        return {index: rounded_share(1 - share) for index, share in removed.items() if share}


@dataclass(frozen=True, kw_only=True)
class UnitRows:
    """Unit rows to try, by kind of layer; `small_image`: beside those of `convolution`, of spatial weights."""

    convolution: tuple[int, ...] = CONVOLUTION_ROWS[32]
    small_image: tuple[int, ...] = SMALL_IMAGE_ROWS
    connected: tuple[int, ...] = CONNECTED_ROWS

    @classmethod
    def on(cls, device: DeviceInfo | None, **rows: tuple[int, ...]) -> UnitRows:
        """`rows` where they are given, else those for the device."""
        has_few = device is not None and device.type == "cpu" and vector_registers(device) <= 16
        return cls(**{"convolution": CONVOLUTION_ROWS[16 if has_few else 32], **rows})


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a layer is pruned: in which unit, and in the Winograd domain of which output tile (None: spatially)."""

    unit: Unit
    winograd: int | None = None

    def __str__(self) -> str:
        return f"{self.unit}" if self.winograd is None else f"{self.unit} F({self.winograd}x{self.winograd})"


def layer_cuts(layer: Layer, variant: Variant, unit_rows: UnitRows) -> list[Cut]:
    """The ways to prune a layer that are tried."""
    if not isinstance(layer, Convolutional):
        return [Cut(unit=Unit(rows=rows)) for rows in unit_rows.connected]
    is_small = max(layer.output.height, layer.output.width) <= SMALL_SIDE
    more = [rows for rows in unit_rows.small_image if is_small and rows <= layer.problem(1).group_out_channels]
    if variant.precision != FLOAT32:
        more = [UNIT_ROWS, 2 * UNIT_ROWS]
    rows_tried = dict.fromkeys((*unit_rows.convolution, *more))
    cuts = [Cut(unit=Unit(rows=rows)) for rows in rows_tried]
    has_domain = layer.has_winograd_domain and layer.input.channels >= FEWEST_WINOGRAD_CHANNELS
    if "winograd" in variant.algorithms and has_domain:
        cuts += [Cut(unit=Unit(rows=rows), winograd=WINOGRAD_OUTPUT_TILE) for rows in unit_rows.convolution]
    return cuts


def cut_plans(network: Network, variant: Variant, unit_rows: UnitRows) -> list[dict[int, Cut]]:
    """Layer index -> cut, of the layers that are pruned: so many ways that each layer is once cut in each of its own.

    A dense variant has one way, without cuts.
    """
    tried = {index: layer_cuts(network.layers[index], variant, unit_rows) for index in variant.kept_shares(network)}
    count = max(map(len, tried.values()), default=1)
    return [{index: cuts[min(place, len(cuts) - 1)] for index, cuts in tried.items()} for place in range(count)]


def variant_steps(
    network: Network, device: DeviceInfo, variant: Variant, cuts: Mapping[int, Cut], *, lookup: Lookup | None = None
) -> Sequence[Chosen]:
    """The plan's steps with every pruned layer cut in the way of `cuts`."""
    shares = variant.kept_shares(network)
    forms = {
        index: WeightForm(workload=Workload(kept_share=shares[index], unit_rows=cut.unit.rows), winograd=cut.winograd)
        for index, cut in cuts.items()
    }
    plan = make_plan(
        network,
        device,
        forms=forms,
        lookup=lookup,
        times=lookup.time_ms if lookup else None,
        estimates=lookup.estimate_ms if lookup else None,
        connected_storage=variant.connected_storage,
        algorithms=variant.choice,
    )
    return plan.steps


def variant_tasks(
    network: Network, device: DeviceInfo, variants: Sequence[Variant], unit_rows: UnitRows, *, likely_only: bool = False
) -> list[Offer]:
    """Everything worth tuning for these variants, each problem once."""
    steps = [
        step
        for variant in variants
        for cuts in cut_plans(network, variant, unit_rows)
        for step in variant_steps(network, device, variant, cuts)
    ]
    return offers_to_tune(steps, likely_only=likely_only)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How what is not tuned yet is tuned first: `effort`, or None for not at all; `budget_s` replaces its seconds."""

    effort: Effort | None = None
    budget_s: float | None = None


def tune_missing(session: Session, store: Store, tasks: Sequence[Offer], tuning: Tuning, *, say: Say) -> bool:
    """Tune what is missing with the ordinary tuner, or `say` how much that is; True if anything was tuned.

    Raises what `tune` raises.
    """
    missing = without_tuned(store, session.info, tasks)
    if not missing:
        return False
    if tuning.effort is None:
        say(f"{len(missing)} of {len(tasks)} problems are not tuned: the nearest tuned tiles are used")
        return False
    say(f"tuning {len(missing)} of {len(tasks)} problems")
    tune(session, store, missing, budget_s=tuning.budget_s, effort=tuning.effort)
    return True


def refine_variants(
    session: Session,
    store: Store,
    network: Network,
    dense: Weights,
    *,
    variants: Sequence[Variant],
    unit_rows: UnitRows,
    tuning: Tuning,
    say: Say,
) -> None:
    """Measure the winners of tuning in the networks that the variants may become.

    One for each way to cut their layers, then the one that is cut as was fastest.
    """
    if tuning.effort is None:
        return
    done: set[Hashable] = set()
    for variant in variants:
        algorithms = variant.choice
        ways = {f"cut {place}": cuts for place, cuts in enumerate(cut_plans(network, variant, unit_rows), start=1)}
        for which in (*ways, "fastest cuts"):
            cuts = (
                ways[which]
                if which in ways
                else fastest_cuts(network, session.info, store, variant, unit_rows=unit_rows)
            )
            # What is pruned is hardly ever computed by another algorithm than its domain's own.
            ways_cut = tuple(sorted(cuts.items(), key=itemgetter(0))) or variant.algorithms
            key = (variant.sparsity, variant.precision, ways_cut)
            if key not in done:
                done.add(key)
                model = prune_in_cuts(network, dense, variant, cuts)
                refined = refine_in_network(
                    session, store, model.network, model.weights, algorithms=algorithms, effort=tuning.effort.name
                )
                gain_ms = sum(item.before_ms - item.after_ms for item in refined)
                say(f"{variant.name}, {which}: {gain_ms:.2f} ms less by choosing in the network")


def fastest_cuts(
    network: Network, device: DeviceInfo, store: Store, variant: Variant, *, unit_rows: UnitRows
) -> dict[int, Cut]:
    """Layer index -> the cut whose tuned tile is fastest, for layers that `variant` prunes.

    A layer for which none is tuned gets the unit of the tile that would run it.
    """
    lookup = Lookup(store, device)
    best: dict[int, tuple[float, Cut]] = {}
    for cuts in cut_plans(network, variant, unit_rows):
        for step in variant_steps(network, device, variant, cuts, lookup=lookup):
            times = [item.time_ms for item in step.alternatives if item.time_ms is not None]
            if step.layer is None or step.workload.is_dense or not times:
                continue
            index = step.layer.index
            if index not in best or min(times) < best[index][0]:
                best[index] = min(times), cuts[index]
    units = tile_units(network, device, lookup=lookup, sparsity=variant.sparsity, fc_sparsity=variant.fc_sparsity)
    return {index: Cut(unit=unit) for index, unit in units.items()} | {index: cut for index, (_, cut) in best.items()}


def prune_in_cuts(network: Network, weights: Weights, variant: Variant, cuts: Mapping[int, Cut]) -> Model:
    """The network with its prune options, and weights without the smallest units; both as they are for a dense one."""
    if variant.is_dense:
        return Model(network=network, weights=weights)
    options = {
        index: PruneOptions(
            method="workgroup" if cuts[index].winograd is None else "bwsp",
            unit=cuts[index].unit,
            sparsity=variant.sparsity if isinstance(network.layers[index], Convolutional) else variant.fc_sparsity,
            winograd=cuts[index].winograd,
        )
        for index in variant.kept_shares(network)
    }
    tiles = {index: chosen.winograd for index, chosen in options.items() if chosen.winograd is not None}
    weights = to_winograd_domain(network, weights, tiles)
    removed = apply_masks(weights, masks_of(prune_layers(network, weights, options)))
    return Model(network=with_prune_options(network, options), weights=removed)
