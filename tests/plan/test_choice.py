"""Which algorithms a layer is offered, and which of them a plan takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.connected import connected_operation
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.conv_tiled import CONV_TILED
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.tile import Operation
from clprune.kernels.workload import WeightForm, Workload
from clprune.plan.chooser import Chooser
from clprune.plan.offers import offers_for
from clprune.plan.plan import make_plan
from clprune.plan.steps import Chosen
from tests.imaginary import imaginary_device

CPU = imaginary_device(type="cpu", native_vector_width_float=16)
SINGLE_WEIGHTS = Workload(kept_share=0.1, unit_rows=1)
UNITS = Workload(kept_share=0.25, unit_rows=8)
NETWORK = """\
[net]
height=16
width=16
channels=32

[convolutional]
filters=32
size=3
pad=1
activation=relu
"""


def operation(*, in_channels: int = 64, size: int = 3, stride: int = 1) -> ConvOperation:
    return conv_operation(
        ConvProblem.square(
            batch=1,
            in_channels=in_channels,
            in_height=16,
            in_width=16,
            out_channels=32,
            size=size,
            stride=stride,
            padding=1,
        )
    )


def offers(what: Operation, form: WeightForm, algorithms: Algorithms, *, is_cpu: bool = True) -> tuple[Offer, ...]:
    device = CPU if is_cpu else imaginary_device()
    return offers_for(what, form, algorithms=algorithms, device=device, kernels=built_in_kernels())


def labels(what: ConvOperation, form: WeightForm, *names: str, is_cpu: bool = True, **more: Any) -> list[str]:
    algorithms = Algorithms(**({"names": names} if names else {}), **more)
    return [offer.label for offer in offers(what, form, algorithms, is_cpu=is_cpu)]


def test_dense_layers_may_be_direct_or_winograd() -> None:
    assert labels(operation(), WeightForm(), is_cpu=False)[:2] == ["direct tiled", "direct"]
    found = labels(operation(), WeightForm())
    assert found[0] == "direct"
    assert any(label.startswith("winograd F(4x4)") for label in found)
    assert any(label.startswith("winograd F(2x2)") for label in found)
    assert labels(operation(), WeightForm(), "direct") == ["direct", "direct channels"]


def test_channels_along_vectors_are_for_small_images() -> None:
    def offered(side: int, *, filters: int = 64, is_cpu: bool = True, unit_rows: int | None = None) -> list[str]:
        what = conv_operation(
            ConvProblem.square(
                batch=1, in_channels=16, in_height=side, in_width=side, out_channels=filters, size=3, padding=1
            )
        )
        workload = Workload() if unit_rows is None else Workload(kept_share=0.6, unit_rows=unit_rows)
        found = offers(what, WeightForm(workload=workload), Algorithms(names=("direct",)), is_cpu=is_cpu)
        return [f"{offer.label}{'' if offer.is_likely else ', unlikely'}" for offer in found]

    assert offered(29) == ["direct"]
    assert offered(28) == ["direct", "direct channels, unlikely"]
    assert offered(15) == ["direct", "direct channels, unlikely"]
    assert offered(14) == offered(8) == ["direct channels", "direct"]
    assert offered(14, unit_rows=8) == ["direct", "direct channels"]
    assert offered(8, unit_rows=32) == ["direct channels", "direct"]
    assert offered(8, unit_rows=8) == ["direct", "direct channels"]
    assert offered(8, filters=15) == ["direct"]
    assert offered(8, is_cpu=False) == ["direct tiled", "direct", "direct channels, unlikely"]


@pytest.mark.parametrize(("lanes", "stride", "first"), [(16, 1, "channels"), (8, 1, "direct"), (8, 2, "channels")])
def test_channels_come_first_at_14_pixels_where_positions_leave_lanes_empty(
    lanes: int, stride: int, first: str
) -> None:
    problem = ConvProblem.square(
        batch=1, in_channels=16, in_height=14 * stride, in_width=14 * stride, out_channels=32, size=1, stride=stride
    )
    device = replace(CPU, native_vector_width_float=lanes)
    request = {"algorithms": Algorithms(names=("direct",)), "device": device, "kernels": built_in_kernels()}
    found = [offer.label for offer in offers_for(conv_operation(problem), WeightForm(), **request)]  # type: ignore[arg-type]
    assert found[0] == ("direct channels" if first == "channels" else "direct")


def test_error_that_is_allowed_decides_about_winograd() -> None:
    strict = labels(operation(), WeightForm(), max_error=2e-6)
    assert any(label.startswith("winograd F(2x2)") for label in strict)
    assert not any(label.startswith("winograd F(4x4)") for label in strict)
    assert labels(operation(), WeightForm(), max_error=1e-9) == ["direct", "direct channels"]


@pytest.mark.parametrize("what", [operation(in_channels=3), operation(size=5), operation(stride=2)])
def test_layers_that_gain_nothing_or_cannot_be_transformed_are_direct(what: ConvOperation) -> None:
    assert labels(what, WeightForm())[0] in ("direct", "direct channels")
    assert not any(label.startswith("winograd") for label in labels(what, WeightForm()))


def test_short_searches_leave_out_what_hardly_ever_wins() -> None:
    def likely(what: ConvOperation, form: WeightForm, *, is_cpu: bool) -> list[str]:
        found = offers(what, form, Algorithms(), is_cpu=is_cpu)
        return [f"{offer.kernel.name} {offer.label}" for offer in found if offer.is_likely]

    large = conv_operation(
        ConvProblem.square(batch=1, in_channels=64, in_height=64, in_width=64, out_channels=64, size=3, padding=1)
    )
    assert likely(large, WeightForm(), is_cpu=True) == ["winograd_fused winograd F(4x4) fused"]
    assert likely(large, WeightForm(), is_cpu=False) == [
        "conv_tiled direct tiled",
        "conv direct",
        "winograd_tiled winograd F(4x4) tiled",
        "winograd winograd F(4x4)",
    ]
    few_tiles = ["winograd winograd F(4x4)", "winograd_fused winograd F(4x4) fused"]
    assert likely(operation(), WeightForm(), is_cpu=True) == ["conv direct", *few_tiles]
    assert likely(operation(), WeightForm(workload=UNITS), is_cpu=True) == ["conv direct"]
    half = WeightForm(workload=Workload(kept_share=0.5))
    assert likely(operation(), half, is_cpu=True) == ["conv direct", *few_tiles]


@pytest.mark.parametrize("form", [WeightForm(), WeightForm(workload=UNITS), WeightForm(workload=SINGLE_WEIGHTS)])
def test_no_kernel_of_gpus_is_offered_to_cpus(form: WeightForm) -> None:
    """Those whose work-groups share local memory, however large the batch is."""
    layers = (
        operation(),
        connected_operation(ConnectedProblem(batch=64, inputs=512, outputs=512)),
    )
    for what in layers:
        kernels, on_gpu = (
            {offer.kernel.name for offer in offers(what, form, Algorithms(), is_cpu=is_cpu)} for is_cpu in (True, False)
        )
        assert not any(name.endswith("_tiled") for name in kernels)
        assert any(name.endswith("_tiled") for name in on_gpu)


def test_single_weights_come_first_as_lists() -> None:
    single = WeightForm(workload=SINGLE_WEIGHTS)
    assert labels(operation(), single, is_cpu=False)[:2] == ["sparse tiled", "sparse"]
    assert labels(operation(stride=2), single, is_cpu=False)[0] == "sparse"
    assert labels(operation(), WeightForm(workload=UNITS))[0] == "direct"
    assert "sparse" in labels(operation(), WeightForm(workload=UNITS))
    assert "sparse" not in labels(operation(), WeightForm(workload=Workload(kept_share=0.7, unit_rows=1)))


def test_cpus_take_single_weights_out_of_their_caches() -> None:
    def on_cpu(what: ConvOperation) -> list[str]:
        form = WeightForm(workload=SINGLE_WEIGHTS)
        return [offer.label for offer in offers(what, form, Algorithms(names=("sparse",)))]

    assert on_cpu(operation()) == ["sparse local", "sparse"]
    assert on_cpu(operation(stride=2)) == ["sparse"]


def test_weights_of_the_winograd_domain_leave_no_choice() -> None:
    form = WeightForm(workload=UNITS, winograd=4)
    for names in ((), ("direct",), ("sparse",)):
        found = labels(operation(), form, *names)
        assert found
        assert all(label.startswith("winograd F(4x4)") for label in found)
    with pytest.raises(UnsupportedLayerError, match="the stride is 2, not 1"):
        labels(operation(stride=2), form)


def test_fully_connected_layers_know_columns_and_single_weights() -> None:
    what = connected_operation(ConnectedProblem(batch=1, inputs=64, outputs=32))
    for workload, expected in (
        (Workload(), ["columns"]),
        (UNITS, ["columns", "sparse"]),
        (SINGLE_WEIGHTS, ["sparse", "columns"]),
    ):
        found = offers(what, WeightForm(workload=workload), Algorithms())
        assert [offer.label for offer in found] == expected
    only = offers(what, WeightForm(workload=SINGLE_WEIGHTS), Algorithms(names=("direct",)))
    assert [offer.label for offer in only] == ["columns"]


def test_fully_connected_layers_with_scales_of_activations_know_integers() -> None:
    what = connected_operation(ConnectedProblem(batch=1, inputs=64, outputs=32), storage="int8")
    for workload, expected in ((Workload(), ["int8", "columns"]), (SINGLE_WEIGHTS, ["sparse", "int8", "columns"])):
        found = offers(what, WeightForm(workload=workload, quantizes_input=True), Algorithms())
        assert [offer.label for offer in found] == expected


def test_kernels_of_others_take_part() -> None:
    class OwnConvolution(type(CONV)):  # type: ignore[misc]
        name = "own_conv"

        def offers(self, request: Request) -> tuple[Offer, ...]:
            (offer,), device = super().offers(request), request.device
            return (replace(offer, label="own", rank=Rank.SPECIAL if device.compute_units > 100 else Rank.DOUBTFUL),)

    kernels = (*built_in_kernels(), OwnConvolution())
    for compute_units, place in ((132, 0), (20, -1)):
        device = imaginary_device(compute_units=compute_units)
        found = offers_for(operation(), WeightForm(), algorithms=Algorithms(), device=device, kernels=kernels)
        assert found[place].label == "own"
        assert [offer.label for offer in found if offer.label != "own"] == labels(
            operation(), WeightForm(), is_cpu=False
        )


def chosen(network: Network, times_ms: dict[str, float]) -> Chosen:
    """The convolution's step where tuning measured these milliseconds by kernel and F."""

    def lookup(offer: Offer) -> tuple[Any, str] | None:
        return offer.kernel.default_tile(offer.operation, CPU), "tuned"

    def times(offer: Offer) -> float | None:
        return times_ms.get(f"{offer.kernel.name} {getattr(offer.operation, 'output_tile', '')}".strip())

    (step,) = make_plan(network, CPU, lookup=lookup, times=times).steps
    return step


def test_fastest_that_was_measured_is_taken(network_of: Callable[..., Network]) -> None:
    network = network_of(NETWORK)
    step = chosen(network, {"conv": 2.0, "winograd_fused 4": 1.0, "winograd_fused 2": 1.5})
    assert step.kernel.name == "winograd_fused"
    assert step.operation.output_tile == 4
    assert step.algorithm.startswith("winograd F(4x4)")
    assert step.reason.startswith("fastest of 3 measured")
    measured = {item.offer.label: item.time_ms for item in step.alternatives}
    assert measured["direct"] == 2.0
    assert chosen(network, {"conv": 0.5, "winograd_fused 4": 1.0}).algorithm == "direct"


def test_what_nobody_measured_is_not_preferred(network_of: Callable[..., Network]) -> None:
    network = network_of(NETWORK)
    assert chosen(network, {"winograd_fused 2": 9.0}).algorithm.startswith("winograd F(2x2)")
    step = chosen(network, {})
    assert step.algorithm == "direct"
    assert step.reason == "nothing was measured: the first of the list"
    (only,) = make_plan(network_of(NETWORK.replace("=16", "=30")), CPU, algorithms=Algorithms(names=("direct",))).steps
    assert only.reason == "the only way for these weights here"


def test_what_skips_is_preferred_to_what_was_measured_dense(network_of: Callable[..., Network]) -> None:
    """Winograd multiplies nearly all of pruned weights, unless hardly any are left; its transforms stay."""
    network = network_of(NETWORK)

    def algorithm(direct_ms: float, *, kept: float) -> str:
        def times(offer: Offer) -> float | None:
            known = {"conv": direct_ms, "winograd_fused": 1.0}
            return known.get(offer.kernel.name) if offer.workload.is_dense else None

        form = WeightForm(workload=Workload(kept_share=kept, unit_rows=64))
        (step,) = make_plan(network, CPU, forms={0: form}, times=times).steps
        return step.algorithm

    assert algorithm(2.0, kept=0.2) == "direct"
    assert algorithm(3.0, kept=0.2).startswith("winograd")
    assert algorithm(2.0, kept=0.4).startswith("winograd")
    # However little is left, it takes some time.
    assert algorithm(4.5, kept=0.01) == "direct"
    assert algorithm(5.5, kept=0.01).startswith("winograd")


def test_times_of_pruned_weights_in_the_winograd_domain_are_not_those_of_dense_ones() -> None:
    """A channel of which all nine columns have gone is skipped there, too: a key of its own."""

    def workloads(kept_share: float) -> set[Workload]:
        form = WeightForm(workload=Workload(kept_share=kept_share, unit_rows=8))
        found = offers(operation(), form, Algorithms(names=("winograd",)))
        assert len(found) == 4
        return {offer.workload for offer in found}

    assert workloads(0.25) == {Workload()}
    assert workloads(0.125) == {Workload(kept_share=0.7, unit_rows=8)}
    assert workloads(0.05) == {Workload(kept_share=0.37, unit_rows=8)}


def test_pruned_weights_never_take_longer_than_dense_ones(network_of: Callable[..., Network]) -> None:
    """Nothing was measured for them: kernel and tile of the dense layer are taken, unless they hardly skip."""
    network = network_of(NETWORK)
    dense_tile = replace(CONV.default_tile(operation(), CPU), tile_m=16, vectors=1)

    def step(*, kept: float, unit_rows: int) -> Chosen:
        def lookup(offer: Offer) -> tuple[Any, str] | None:
            if offer.kernel is CONV and offer.workload.is_dense:
                return dense_tile, "tuned"
            return offer.kernel.default_tile(offer.operation, CPU), "tuned for something else"

        def times(offer: Offer) -> float | None:
            return {"conv": 1.0, "conv_channels": 3.0}.get(offer.kernel.name) if offer.workload.is_dense else None

        form = WeightForm(workload=Workload(kept_share=kept, unit_rows=unit_rows))
        algorithms = Algorithms(names=("direct",))
        (found,) = make_plan(network, CPU, forms={0: form}, lookup=lookup, times=times, algorithms=algorithms).steps
        return found

    for kept in (0.9, 0.6, 0.2):
        found = step(kept=kept, unit_rows=32)
        assert (found.kernel, found.tile, found.tile_origin) == (CONV, dense_tile, "tuned for dense weights")
        assert found.reason.startswith("not measured: the fastest of 2 measured with dense weights")
    # 16 rows together need nearly all columns of which two units of 8 rows lose half each
    found = step(kept=0.5, unit_rows=8)
    assert (found.kernel, found.tile_origin) == (CONV, "tuned for something else")


def test_what_skips_has_the_rows_of_its_kernel() -> None:
    """All rows of a work-group of `conv_tiled` share a list, and each row of `sparse` has one of its own."""
    device, workload = imaginary_device(), Workload(kept_share=0.25, unit_rows=8)
    forms = [Offer(kernel=kernel, operation=operation(), workload=workload) for kernel in (CONV_TILED, SPARSE_CONV)]
    chooser = Chooser(device=device, times=lambda offer: 1.0)
    assert CONV_TILED.wavefront_rows(forms[0].default_tile(device)) == 16
    tiled_ms, sparse_ms = map(chooser._expected_ms, forms)
    assert tiled_ms == pytest.approx(2 * (1 - 0.75**2), rel=0.01)
    assert sparse_ms == pytest.approx(2 * 0.25)


POOLED = """
[maxpool]
size=2
stride=2
"""


def test_very_small_images_are_pooled_by_their_convolution(network_of: Callable[..., Network]) -> None:
    def steps(side: int, form: WeightForm) -> list[str]:
        network = network_of(NETWORK.replace("=16", f"={side}") + POOLED)
        return [step.label for step in make_plan(network, CPU, forms={0: form}).steps if step.layer is not None]

    units_of_vectors = WeightForm(workload=Workload(kept_share=0.25, unit_rows=32))
    assert steps(8, WeightForm()) == ["convolutional + maxpool"]
    assert steps(8, units_of_vectors) == ["convolutional + maxpool"]
    # Two rows of 8 fill a vector, of units as tall as its tiles; rows of 6 would leave lanes empty.
    assert steps(8, WeightForm(workload=UNITS)) == ["convolutional + maxpool"]
    assert steps(8, WeightForm(workload=Workload(kept_share=0.25, unit_rows=4))) == ["convolutional", "maxpool"]
    assert steps(6, WeightForm(workload=UNITS)) == ["convolutional", "maxpool"]
    assert steps(10, WeightForm()) == ["convolutional", "maxpool"]


def test_unknown_algorithms_are_refused() -> None:
    with pytest.raises(UsageError, match="algorithm 'fft': expected one or more of direct, winograd, sparse"):
        Algorithms(names=("fft",))
    with pytest.raises(UsageError, match="no algorithm"):
        Algorithms(names=())
    with pytest.raises(UsageError, match=r"max_error 0: expected a positive number"):
        Algorithms(max_error=0)
