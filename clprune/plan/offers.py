"""The ways in which a layer can be computed: which kernels the planner may choose from for it.

Weights decide what is possible (a layer pruned in the Winograd domain has no 3x3 filters any more), `Algorithms` what
is wanted, and measured times what is taken (`clprune.plan.chooser`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clprune.algorithms import ALGORITHMS, Algorithms
from clprune.errors import UnsupportedLayerError
from clprune.geometry import ConvProblem
from clprune.kernels.base import Kernel, Workload, ceil_div
from clprune.kernels.choice import Offer
from clprune.kernels.connected import CONNECTED, ConnectedOperation
from clprune.kernels.connected_int8 import CONNECTED_INT8
from clprune.kernels.conv import CONV
from clprune.kernels.conv_channels import CONV_CHANNELS
from clprune.kernels.conv_int8 import CONV_INT8
from clprune.kernels.conv_operation import ConvOperation, can_pack_rows
from clprune.kernels.sparse_connected import SPARSE_CONNECTED
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL, has_local_form
from clprune.kernels.storage import FLOAT32
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_fused import WINOGRAD_FUSED
from clprune.kernels.winograd_operation import winograd_obstacle, winograd_operation
from clprune.plan.forms import WeightForm
from clprune.winograd.error import expected_error

#: Input channels below which spatial weights stay there.
FEWEST_WINOGRAD_CHANNELS = 32

#: Kept share of spatial weights up to which direct convolution multiplies no more than F(4x4, 3x3) of all of them.
BEATEN_KEPT_SHARE = 0.3

#: Side of an output that is hardly more than one tile, most of which would be computed for nothing.
SMALL_SIDE = 4

#: Sides of an output up to which output channels along vectors (CONV_CHANNELS) are worth measuring, up to which they
#: are likely to be faster than positions on a CPU, and up to which they hardly ever lose on 512-bit vectors, of which
#: positions fill a half or less. They need a vector of channels and, of pruned ones, as many that lose the same columns
#: as tiles have rows.
CHANNELS_SIDE, LIKELY_CHANNELS_SIDE, SURE_CHANNELS_SIDE = 28, 14, 8
FEWEST_CHANNELS, FEWEST_CHANNELS_UNIT_ROWS = 16, 32

#: Rows of a unit from which on direct convolution skips what was removed also where several short rows fill a vector.
FEWEST_PACKED_UNIT_ROWS = 8

#: Operations from which on a dense layer is settled on CPUs; with fewer, launches and transforms count.
SETTLED_FLOPS = 10**8

#: Tiles of F(4x4, 3x3) up to which a layer may have, and surely has, too few of them to keep every core of a CPU busy
#: with tiles of its own.
FEW_TILES, VERY_FEW_TILES = 64, 32

#: Kept shares of weights up to which a list of them may be faster than multiplying whole columns, and up to which
#: it is likely to be.
SPARSE_KEPT_SHARE, LIKELY_SPARSE_KEPT_SHARE = 0.5, 0.2


def convolution_offers(
    operation: ConvOperation, form: WeightForm, algorithms: Algorithms, *, is_cpu: bool
) -> list[Offer]:
    """Every way to compute a convolution with weights of that form, the one to take untuned first.

    Where the wanted algorithms cannot compute the layer, all others are offered. Raises UnsupportedLayerError where
    none can.
    """
    for names in (algorithms.names, ALGORITHMS):
        offers = _direct(operation, form, is_cpu=is_cpu) if "direct" in names else []
        if "winograd" in names:
            winograd = _winograd(operation, form, algorithms, is_cpu=is_cpu)
            # On CPUs a large dense layer has always been faster there, by more than any tuning changes.
            if is_cpu and form.workload.is_dense and winograd and operation.flops >= SETTLED_FLOPS:
                offers = winograd + [replace(offer, is_likely=False) for offer in offers]
            else:
                offers += winograd
        if "sparse" in names:
            sparse = _sparse(operation, form, is_cpu=is_cpu)
            offers = sparse + offers if any(offer.is_likely for offer in sparse) else offers + sparse
        if offers:
            return offers
    raise UnsupportedLayerError(
        f"convolution {operation.problem.key} with weights of F({form.winograd}x{form.winograd}, 3x3): "
        f"{winograd_obstacle(operation.problem) or 'no kernel computes it'}"
    )


def connected_offers(operation: ConnectedOperation, form: WeightForm, algorithms: Algorithms) -> list[Offer]:
    """Every way to compute a fully connected layer with weights of that form, the one to take untuned first."""
    workload = form.workload
    columns = [Offer(label="columns", kernel=CONNECTED, operation=operation, workload=workload)]
    if form.quantizes_input:
        columns.insert(0, Offer(label="int8", kernel=CONNECTED_INT8, operation=operation, workload=workload))
    if workload.kept_share > SPARSE_KEPT_SHARE or "sparse" not in algorithms.names:
        return columns
    is_likely = workload.unit_rows == 1
    rows = Offer(label="sparse", kernel=SPARSE_CONNECTED, operation=operation, workload=workload, is_likely=is_likely)
    return [rows, *columns] if is_likely else [*columns, rows]


def prefers_channels(problem: ConvProblem, form: WeightForm, *, is_cpu: bool) -> bool:
    """Whether output channels along vectors are the first choice among direct convolutions, however tuned: on a CPU,
    for very small images, and weights of which whole row blocks lose the same columns.
    """
    workload = form.workload
    is_whole = workload.is_dense or workload.unit_rows >= FEWEST_CHANNELS_UNIT_ROWS
    is_plain = form.winograd is None and not form.quantizes_input
    return is_cpu and is_plain and is_whole and _has_channels(problem, most_side=SURE_CHANNELS_SIDE)


def packs_rows(problem: ConvProblem, form: WeightForm, *, lanes: int) -> bool:
    """Whether direct convolution fills vectors of `lanes` positions with whole rows: of very small images, and weights
    of which units as tall as its tiles are gone.
    """
    is_plain = form.winograd is None and not form.quantizes_input
    return is_plain and form.workload.unit_rows >= FEWEST_PACKED_UNIT_ROWS and can_pack_rows(problem, lanes)


def _has_channels(problem: ConvProblem, *, most_side: int) -> bool:
    """An output of at most this side, and a vector of channels."""
    is_small = max(problem.out_height, problem.out_width) <= most_side
    return is_small and problem.group_out_channels >= FEWEST_CHANNELS


def _direct(operation: ConvOperation, form: WeightForm, *, is_cpu: bool) -> list[Offer]:
    """Direct convolution: possible for all weights in the spatial domain; in integers where the model says so."""
    if form.winograd is not None:
        return []
    problem, workload = operation.problem, form.workload
    offers = [Offer(label="direct", kernel=CONV, operation=operation, workload=workload)]
    if _has_channels(problem, most_side=CHANNELS_SIDE):
        channels = Offer(
            label="direct channels",
            kernel=CONV_CHANNELS,
            operation=operation,
            workload=workload,
            is_likely=is_cpu and _has_channels(problem, most_side=LIKELY_CHANNELS_SIDE),
        )
        offers.insert(0 if prefers_channels(problem, form, is_cpu=is_cpu) else 1, channels)
    if form.quantizes_input and problem.groups == 1:
        offers.insert(0, Offer(label="direct int8", kernel=CONV_INT8, operation=operation, workload=workload))
    return offers


def _winograd(operation: ConvOperation, form: WeightForm, algorithms: Algorithms, *, is_cpu: bool) -> list[Offer]:
    """Weights of the Winograd domain as they are; spatial ones transformed, which leaves hardly a zero among them."""
    problem = operation.problem
    is_spatial = form.winograd is None
    if winograd_obstacle(problem) is not None or (is_spatial and not _is_worth_transforming(operation)):
        return []
    # One stage keeps a CPU's caches warm; three share a few tiles among all cores, and give GPUs enough to do.
    tiles = _tiles(problem)
    wanted = {is_cpu, is_cpu and tiles > FEW_TILES}
    both = ((WINOGRAD_FUSED, True), (WINOGRAD, False))
    is_small = min(problem.out_height, problem.out_width) <= SMALL_SIDE
    is_beaten = is_spatial and (is_small or form.workload.kept_share <= BEATEN_KEPT_SHARE)
    offers = []
    for output_tile in (form.winograd,) if form.winograd else (4, 2):
        if is_spatial and expected_error(output_tile, problem.in_channels) > algorithms.max_error:
            continue
        for kernel, is_fused in both if is_cpu and tiles > VERY_FEW_TILES else both[::-1]:
            offer = Offer(
                label=f"winograd F({output_tile}x{output_tile})" + (" fused" if is_fused else ""),
                kernel=kernel,
                operation=winograd_operation(operation, output_tile=output_tile),
                workload=Workload() if is_spatial else form.workload,
                is_likely=output_tile in (4, form.winograd) and is_fused in wanted and not is_beaten,
            )
            offers.append(offer)
    return sorted(offers, key=lambda offer: not offer.is_likely)


def _tiles(problem: ConvProblem) -> int:
    """Tiles of F(4x4, 3x3)."""
    return problem.batch * ceil_div(problem.out_height, 4) * ceil_div(problem.out_width, 4)


def _is_worth_transforming(operation: ConvOperation) -> bool:
    """Few channels do not make up for the transforms, and a coding would not survive them."""
    return operation.problem.in_channels >= FEWEST_WINOGRAD_CHANNELS and operation.storage == FLOAT32


def _sparse(operation: ConvOperation, form: WeightForm, *, is_cpu: bool) -> list[Offer]:
    """Direct sparse convolution: for single weights, of which few are left; on CPUs also out of local memory, which is
    their first cache there.
    """
    workload = form.workload
    if form.winograd is not None or workload.kept_share > SPARSE_KEPT_SHARE:
        return []
    is_likely = workload.unit_rows == 1 and workload.kept_share <= LIKELY_SPARSE_KEPT_SHARE
    kernels: list[tuple[str, Kernel[Any, Any]]] = [("sparse", SPARSE_CONV)]
    if is_cpu and has_local_form(operation.problem):
        kernels.insert(0, ("sparse local", SPARSE_CONV_LOCAL))
    return [
        Offer(label=label, kernel=kernel, operation=operation, workload=workload, is_likely=is_likely)
        for label, kernel in kernels
    ]
