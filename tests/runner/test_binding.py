"""Limits that only the built kernel tells: the step runs with the safe tile, and says so."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.errors import BuildError, LaunchError
from clprune.kernels.arguments import Scratch
from clprune.kernels.base import Choice, Offer
from clprune.kernels.winograd import WINOGRAD
from clprune.opencl import Kernel, Program, Session
from clprune.runner import Runner
from clprune.runner.binding import _Binder, _shared_scratch
from tests.random_networks import answers, tolerance
from tests.runner.conftest import images

REAL_KERNEL, REAL_BUILD = Session.kernel, Session.build


def gpu_tile(offer: Offer) -> tuple[Any, str] | None:
    """The first of the GPU's tiles that the operation's constraints allow, as if it had been tuned."""
    for tile in offer.kernel.gpu_tiles:
        if all(constraint.holds(tile, offer.operation) for constraint in offer.kernel.constraints):
            return tile, "tuned"
    return None


def check_answers(network: Network, runner: Runner, weights: Any) -> None:
    x = images(network, 2)
    wanted = answers(network, weights, x)
    assert float(np.abs(runner(x) - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"work_group_limit": 1}, r"safe: the built kernel allows work-groups of 1, not \d+"),
        (
            {"local_mem_bytes": 2**40},
            r"safe: the built kernel needs 1099511627776 bytes of local memory, the device has \d+",
        ),
    ],
)
def test_built_kernels_limit(
    device_context: Session,
    network_of: Callable[..., Network],
    monkeypatch: pytest.MonkeyPatch,
    limit: dict[str, int],
    reason: str,
) -> None:
    def limited(session: Session, program: Program, name: str) -> Kernel:
        """As a driver would: only kernels of large work-groups are affected."""
        built = REAL_KERNEL(session, program, name)
        is_single = "reqd_work_group_size(1, 1, 1)" in program.source
        return built if is_single else dataclasses.replace(built, **limit)

    monkeypatch.setattr(Session, "kernel", limited)
    network = network_of(batch=2)
    weights = random_weights(network, seed=1)
    with Runner(network, weights, session=device_context, lookup=gpu_tile) as runner:
        check_answers(network, runner, weights)
        for bound in runner.bound.steps:
            safe = bound.step.kernel.safe_tile(bound.step.operation)
            assert bound.step.tile == safe
            assert re.fullmatch(reason, bound.step.tile_origin)
        assert [bound.step for bound in runner.bound.steps] == list(runner.bound.plan.steps)


def test_tile_that_the_driver_does_not_build(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(session: Session, source: str, **options: Any) -> Program:
        if "reqd_work_group_size(1, 1, 1)" not in source:
            raise BuildError("refused", log="out of registers", source=source)
        return REAL_BUILD(session, source, **options)

    monkeypatch.setattr(Session, "build", refuse)
    network = network_of()
    weights = random_weights(network, seed=1)
    with Runner(network, weights, session=device_context, lookup=gpu_tile) as runner:
        check_answers(network, runner, weights)
        origins = {bound.step.tile_origin for bound in runner.bound.steps}
    assert origins == {"safe: the driver does not build the other tile"}


def test_nothing_can_be_built(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(session: Session, source: str, **options: Any) -> Program:
        raise BuildError("refused", log="line 1: error", source=source)

    monkeypatch.setattr(Session, "build", refuse)
    network = network_of()
    with pytest.raises(BuildError, match="line 1: error"):
        Runner(network, random_weights(network, seed=1), session=device_context, lookup=gpu_tile)


def test_safe_tile_that_does_not_fit_is_an_error_at_launch(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(session: Session, program: Program, name: str) -> Kernel:
        return dataclasses.replace(REAL_KERNEL(session, program, name), local_mem_bytes=2**40)

    monkeypatch.setattr(Session, "kernel", limited)
    network = network_of()
    with pytest.raises(LaunchError, match="needs 1099511627776 bytes of local memory"):
        Runner(network, random_weights(network, seed=1), session=device_context, lookup=gpu_tile)


def test_scratch_arguments_of_one_kernel_lie_apart(
    runner_of: Callable[..., Runner], network_of: Callable[..., Network]
) -> None:
    """Winograd convolution in three stages has two, which its stages read and write at once."""
    network = network_of(
        "[net]\nheight=14\nwidth=14\nchannels=64\n[convolutional]\nfilters=48\nsize=3\npad=1\nactivation=relu\n"
    )
    weights = random_weights(network, seed=0)
    with runner_of(network, weights, algorithms=Algorithms(names=("winograd",))) as runner:
        step = next(step for step in runner.bound.plan.steps if step.layer is not None)
        assert step.kernel.name == "winograd"
        scratch = step.kernel.scratch(step.tile, step.operation).values()
        assert runner.bound.scratch_bytes == sum(argument.size_bytes for argument in scratch)
        check_answers(network, runner, weights)


def test_packed_weights_are_shared_by_images_alone(
    runner_of: Callable[..., Runner], network_of: Callable[..., Network], device_context: Session
) -> None:
    """One tile for F(2x2) and F(4x4), or for weights of 32 and of 16 bits, means other packed weights."""
    network = network_of(
        "[net]\nheight=14\nwidth=14\nchannels=32\n[convolutional]\nfilters=16\nsize=3\npad=1\nactivation=relu\n"
        "[connected]\noutput=7\nactivation=linear\n",
        batch=2,
    )
    weights = random_weights(network, seed=0)
    with runner_of(network, weights, algorithms=Algorithms(names=("winograd",))) as runner:
        convolution, connected = (
            next(step for step in runner.bound.plan.steps if step.layer is layer) for layer in network.layers
        )
        domains = [
            Choice(offer=offer, tile=WINOGRAD.safe_tile(offer.operation))
            for offer in convolution.offers
            if offer.kernel is WINOGRAD
        ]
        halves = dataclasses.replace(connected.operation, storage="float16")
        in_halves = Choice(offer=dataclasses.replace(connected.choice.offer, operation=halves), tile=connected.tile)
        view = dataclasses.replace(domains[0].operation, input=domains[0].operation.input.of_image(0))
        moved = dataclasses.replace(view, input=dataclasses.replace(view.input, origin=view.input.origin + 100))
        images = [
            Choice(offer=dataclasses.replace(domains[0].offer, operation=operation), tile=domains[0].tile)
            for operation in (view, moved)
        ]
        for step, choices, expected in (
            (convolution, domains, 2),
            (connected, [connected.choice, in_halves], 2),
            (convolution, images, 1),
        ):
            assert len({(choice.kernel.name, choice.tile) for choice in choices}) == 1
            binder = _Binder(
                session=device_context, plan=runner.bound.plan, weights=weights, tensors=runner.bound.tensors
            )
            binder.prepare_all([(dataclasses.replace(step, choice=choice, image=0), None) for choice in choices])
            assert len({id(packed) for packed in binder.packed.values()}) == expected


def test_steps_share_scratch_as_large_as_any_needs(device_context: Session) -> None:
    arguments = [{"q": Scratch(elements=10), "n": 1}, {"V": Scratch(elements=5), "M": Scratch(elements=7)}, {}]
    assert [buffer.nbytes for buffer in _shared_scratch(device_context, arguments)] == [40, 28]
