"""Many launches as one: the same answers bit for bit, whoever of its work-items runs, and what cannot be one alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune import chaining, quirks
from clprune.candidate import Candidate, compare_outputs
from clprune.chaining import MOST_BUFFERS, MOST_UNITS, Link, _parts, can_chain, chain_source, chained
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.errors import BuildError
from clprune.kernels.arguments import Case, Expected, Launch, Scratch, Stage
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.signature import in_order, signature
from clprune.kernels.workload import Workload
from clprune.launching import BoundStages
from clprune.opencl import Buffer, Program, Session
from clprune.runner import Runner, binding
from clprune.runner.bench import bench
from tests.runner.conftest import images

RESIDUAL = """[net]
height=12
width=12
channels=3
[convolutional]
filters=16
size=3
pad=1
activation=relu
[convolutional]
filters=16
size=3
pad=1
groups=16
activation=relu6
[shortcut]
from=-2
activation=linear
[maxpool]
size=2
stride=2
[connected]
output=20
activation=leaky
[softmax]
"""


def runner(session: Session, network: Network, **options: Any) -> Runner:
    return Runner(network, random_weights(network, seed=1), session=session, lookup=lambda *_: None, **options)


@pytest.fixture(autouse=True)
def chains(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains on every driver that runs a work-group to its end on a thread, whether they gain there or not."""
    if not quirks.uses_host_memory(device_context.info):
        pytest.skip("work-groups of this driver take turns")
    monkeypatch.setattr(quirks, "gains_by_chains", lambda _: True)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "residual.cfg"
    path.write_text(RESIDUAL)
    return load_network(path, batch=2)


@pytest.fixture
def wanted(device_context: Session, network: Network, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Answers with every launch by itself."""
    with monkeypatch.context() as patch:
        patch.setattr(binding, "can_chain", lambda *_: False)
        with runner(device_context, network) as apart:
            assert len(apart.bound.launches) >= len(apart.bound.steps) > 1
            return apart(images(network, 5))


@pytest.mark.parametrize(
    "settings",
    [{}, {"ITEMS_PER_UNIT": 1, "PATIENCE": 0}, {"MOST_BUFFERS": 20}, {"MOST_LINKS": 3}, {"MOST_FLOPS": 5e4}],
    ids=str,
)
def test_same_answers(
    device_context: Session,
    network: Network,
    wanted: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, float],
) -> None:
    """Also where whoever must wait goes at once, so that one work-item does what is left; and run after run."""
    for name, value in settings.items():
        monkeypatch.setattr(chaining, name, value)
    with runner(device_context, network) as together:
        is_whole = not settings.keys() & {"MOST_BUFFERS", "MOST_LINKS", "MOST_FLOPS"}
        assert (len(together.bound.launches) == 1) == is_whole
        assert len(together.bound.launches) < len(together.bound.steps)
        for _ in range(20):
            np.testing.assert_array_equal(together(images(network, 5)), wanted)


def test_steps_can_still_be_run_one_by_one(device_context: Session, network: Network, wanted: np.ndarray) -> None:
    with runner(device_context, network) as together:
        x = images(network, 2)
        together(x)
        for step in together.bound.steps:
            step.bound.enqueue()
        (tensor,), (received,) = together.bound.plan.host_outputs, together._exchange.received
        device_context.read_into(together.bound.tensors[tensor], received)
        np.testing.assert_array_equal(together._exchange.answers[0].reshape(2, -1), wanted[:2])


def test_launches_where_the_driver_refuses_the_chain(
    device_context: Session, network: Network, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.build

    def refuse(session: Session, source: str, **options: Any) -> Program:
        if "void chain(" in source:
            raise BuildError("refused", log="too long", source=source)
        return real(session, source, **options)

    monkeypatch.setattr(Session, "build", refuse)
    with runner(device_context, network) as apart:
        assert len(apart.bound.launches) >= len(apart.bound.steps)
        np.testing.assert_array_equal(apart(images(network, 5)), wanted)
        result = bench(apart, rounds=1, warmup=0)
        assert (result.launches, result.joining_refused) == (len(apart.bound.launches), "refused")


def test_devices_of_many_units_are_left_alone(device_context: Session) -> None:
    many = dataclasses.replace(device_context.info, compute_units=MOST_UNITS + 1)
    assert can_chain(device_context.info)
    assert not can_chain(many)


def stage(size: int) -> Stage:
    return Stage(name="f", launch=Launch(global_size=(4 * size, 3), local_size=(size, 1)))


def link(*buffers: Buffer, flops: float = 0.0) -> Link:
    names = [f"b{number}" for number in range(len(buffers))]
    source = f"__kernel void f({', '.join(f'__global const float *{name}' for name in names)}, const float k) {{\n}}\n"
    return Link(
        flops=flops,
        source=source,
        options=(),
        stage=stage(1),
        parameters=signature(source, "f"),
        arguments=(*buffers, np.float32(0.1)),
    )


def buffer() -> Buffer:
    return Buffer(None, nbytes=4)


def test_large_launches_others_work_groups_and_many_buffers_part_a_chain() -> None:
    shared = buffer()
    small, large = link(shared), link(shared, flops=1e9)
    assert [len(part) for part in _parts([small, small, large, large, small], units=2)] == [2, 1, 1, 1]
    several = dataclasses.replace(small, stage=stage(4))
    assert [len(part) for part in _parts([small, several, several, small, small], units=2)] == [1, 1, 1, 2]
    many = [link(shared, *(buffer() for _ in range(9))) for _ in range(30)]
    parts = list(_parts(many, units=2))
    assert [item for part in parts for item in part] == many
    assert all(len({b for item in part for b in item.buffers}) < MOST_BUFFERS for part in parts)
    assert max(map(len, parts)) > 1


def test_numbers_are_part_of_the_source_exactly() -> None:
    shared, own = buffer(), buffer()
    source = chain_source([link(shared, own), link(own)], {shared: 0, own: 1}, units=2)
    assert "(uint3)(4, 3, 1)" in source
    assert f"as_float({np.float32(0.1).view(np.uint32)}u)" in source
    assert "f__0(" in source and "f__1(" in source


def test_every_kernel_can_be_part_of_a_chain(device_context: Session) -> None:
    """One chain of all kernels, each at its default tile for an operation of its own, and all of them are right."""
    links, candidates = [], []
    for kernel in built_in_kernels():
        operation = kernel.sample_operations()[0]
        tile = kernel.default_tile(operation, device_context.info)
        stages = kernel.stages(tile, operation)
        case = kernel.case(tile, operation, kernel.sample(operation, Workload()))
        candidate, arguments = on_device(device_context, case)
        candidates.append(candidate)
        source = kernel.source(tile, operation)
        for part in stages:
            parameters = signature(source, part.name)
            values = in_order(part.name, parameters, arguments, takes=part.takes)
            links.append(Link(flops=0, source=source, options=(), stage=part, parameters=parameters, arguments=values))
    launches = chained(device_context, links)
    assert len(launches) < len(links) / 4
    for launch in launches:
        launch.enqueue()
    for candidate in candidates:
        compare_outputs(device_context, candidate)


def on_device(session: Session, case: Case) -> tuple[Candidate, dict[str, Any]]:
    """A case's arguments on the device, and a candidate that says what must come out."""
    arguments: dict[str, Any] = {}
    outputs = []
    for name, argument in case.arguments.items():
        if isinstance(argument, Expected):
            arguments[name] = session.buffer_from(argument.initial)
            outputs.append((arguments[name], argument))
        elif isinstance(argument, Scratch):
            arguments[name] = session.empty_buffer(argument.size_bytes)
        else:
            arguments[name] = session.buffer_from(argument) if isinstance(argument, np.ndarray) else argument
    return Candidate(bound=BoundStages(kernels=()), outputs=tuple(outputs)), arguments
