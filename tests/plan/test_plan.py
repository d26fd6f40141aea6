"""Plans for devices that exist only here: every launch allowed, every tensor there when it is read."""

from __future__ import annotations

import cProfile
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune.darknet.network import Network, load_network
from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.kernels.base import Offer
from clprune.kernels.workload import WeightForm, Workload
from clprune.layout import view
from clprune.plan.builder import PlanBuilder
from clprune.plan.capacity import check_network
from clprune.plan.chooser import DEFAULT_ORIGIN, SAFE_ORIGIN
from clprune.plan.layouts import tensor_aliases
from clprune.plan.memory import MOST_SECLUDED
from clprune.plan.plan import Plan, make_plan
from clprune.resources import models_folder
from tests.imaginary import imaginary_device
from tests.random_networks import random_cfg

LARGE_GPU = imaginary_device(
    max_work_group_size=1024, max_work_item_sizes=(1024, 1024, 64), local_mem_bytes=48 * 1024, compute_units=132
)
DEVICES = {
    "large GPU": LARGE_GPU,
    "small GPU": imaginary_device(
        max_work_group_size=64, max_work_item_sizes=(64, 64, 64), local_mem_bytes=16 * 1024, fp64=False, extensions=()
    ),
    "GPU without local memory": imaginary_device(local_mem_bytes=1024, local_mem_is_dedicated=False),
    "CPU": imaginary_device(
        type="cpu",
        max_work_group_size=8192,
        max_work_item_sizes=(8192,) * 3,
        local_mem_is_dedicated=False,
        native_vector_width_float=16,
    ),
    "CPU of 4 lanes": imaginary_device(type="cpu", native_vector_width_float=4, local_mem_is_dedicated=False),
    "CPU whose barriers need work-groups of one": imaginary_device(
        type="cpu", max_work_item_sizes=(1, 1, 1), max_work_group_size=1, native_vector_width_float=8
    ),
    "least of the embedded profile": imaginary_device(
        max_work_group_size=1,
        max_work_item_sizes=(1, 1, 1),
        local_mem_bytes=1024,
        local_mem_is_dedicated=False,
        fp64=False,
        extensions=(),
        compute_units=1,
        native_vector_width_float=1,
    ),
    "accelerator": imaginary_device(type="accelerator", max_work_group_size=16, max_work_item_sizes=(16, 1, 1)),
}


def plans(folder: Path, device: DeviceInfo) -> Iterator[Plan]:
    """VGG16, and random networks of several batch sizes."""
    yield make_plan(load_network(models_folder() / "vgg16.cfg"), device)
    for seed in range(30):
        path = folder / f"{seed}.cfg"
        path.write_text(random_cfg(seed))
        yield make_plan(load_network(path, batch=1 + seed % 3), device)


@pytest.mark.parametrize("name", DEVICES)
def test_every_launch_is_allowed(tmp_path: Path, name: str) -> None:
    device = DEVICES[name]
    for plan in plans(tmp_path, device):
        for step in plan.steps:
            assert step.kernel.rejection(step.tile, step.operation, device) is None, step
            assert step.tile_origin in {DEFAULT_ORIGIN, SAFE_ORIGIN}


def test_smallest_device_gets_safe_tiles(tmp_path: Path) -> None:
    for plan in plans(tmp_path, DEVICES["least of the embedded profile"]):
        for step in plan.steps:
            assert step.tile == step.kernel.safe_tile(step.operation)
            assert step.tile_origin == SAFE_ORIGIN
            assert step.kernel.launch(step.tile, step.operation).work_group_size == 1
            assert step.kernel.local_mem_bytes(step.tile, step.operation) == 0


def test_large_gpu_gets_gpu_tiles_for_vgg16() -> None:
    plan = make_plan(load_network(models_folder() / "vgg16.cfg"), LARGE_GPU)
    for step in plan.steps:
        if step.kernel.name in {"conv", "connected"}:
            assert step.tile in step.kernel.gpu_tiles, step
            assert 64 <= step.kernel.launch(step.tile, step.operation).work_group_size <= 256


def test_small_networks_share_nothing_and_clear_nothing(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    plan = make_plan(network_of(), LARGE_GPU)
    assert not plan.memory.is_shared
    assert "clear padding" not in {step.label for step in plan.steps}


def overlap(plan: Plan, one: int, other: int) -> bool:
    """Whether two tensors of one buffer have a place in common."""
    count = max(plan.layouts[tensor].elements for tensor in (one, other))
    places = [view(np.arange(count), plan.layouts[tensor]) for tensor in (one, other)]
    return bool(np.intersect1d(*places).size)


@pytest.mark.parametrize("keep_tensors", [False, True])
def test_every_tensor_is_there_when_it_is_read(tmp_path: Path, keep_tensors: bool) -> None:
    """Replay who writes which buffer: a step reads what the right step wrote, and never the buffer that it writes."""
    for seed in range(60):
        path = tmp_path / f"{seed}.cfg"
        path.write_text(random_cfg(seed))
        plan = make_plan(load_network(path), LARGE_GPU, keep_tensors=keep_tensors)
        buffer_of, inside = plan.memory.buffer_of, {}

        def whole(tensor: int, plan: Plan = plan) -> int:
            return plan.views[tensor].tensor if tensor in plan.views else tensor

        inside |= {buffer_of[tensor]: tensor for tensor in (plan.host_input, *plan.constants)}
        for step in plan.steps:
            output = whole(step.output)
            for tensor in step.inputs:
                assert inside[buffer_of[tensor]] == whole(tensor), (seed, step.label)
                is_apart = buffer_of[tensor] != buffer_of[output] or not overlap(plan, tensor, step.output)
                assert is_apart or step.label == "route", (seed, step.label)  # it copies to other channels
            inside[buffer_of[output]] = output
        assert all(inside[buffer_of[tensor]] == whole(tensor) for tensor in plan.host_outputs)
        for tensor, number in buffer_of.items():
            assert plan.layouts[tensor].size_bytes <= plan.memory.sizes_bytes[number]


def test_planning_twice_gives_the_same_plan(tmp_path: Path) -> None:
    for first, second in zip(plans(tmp_path, LARGE_GPU), plans(tmp_path, LARGE_GPU), strict=True):
        assert first == second


def test_tuned_tile_is_used_and_named(network_of: Callable[..., Network]) -> None:
    asked: list[tuple[str, str]] = []

    def lookup(offer: Offer) -> tuple[Any, str] | None:
        asked.append((offer.kernel.name, offer.workload.key))
        return (offer.kernel.safe_tile(offer.operation), "tuned") if offer.kernel.name == "connected" else None

    forms = {3: WeightForm(workload=Workload(kept_share=0.25, unit_rows=4))}
    plan = make_plan(network_of(), LARGE_GPU, forms=forms, lookup=lookup)
    origins = {step.kernel.name: step.tile_origin for step in plan.steps}
    assert origins["connected"] == "tuned"
    assert origins["conv"] == DEFAULT_ORIGIN
    assert ("connected", "kept0.25 unit4x1") in asked
    assert ("conv", "dense") in asked


def test_tuned_tile_that_the_device_forbids_is_not_used(network_of: Callable[..., Network]) -> None:
    def lookup(offer: Offer) -> tuple[Any, str] | None:
        return (offer.kernel.gpu_tiles[0], "tuned") if offer.kernel.gpu_tiles else None

    plan = make_plan(network_of(), DEVICES["least of the embedded profile"], lookup=lookup)
    assert {step.tile_origin for step in plan.steps} == {SAFE_ORIGIN}


def test_layers_that_change_nothing_cost_nothing(network_of: Callable[..., Network]) -> None:
    """Dropout and cost have no step; the answer is the softmax's."""
    network = network_of()
    plan = make_plan(network, LARGE_GPU)
    assert {"dropout", "cost"}.isdisjoint(step.label for step in plan.steps)
    aliases = tensor_aliases(network, {})
    assert aliases[4] == aliases[3]
    assert plan.host_outputs == (aliases[6],) == (aliases[5],)


def test_images_of_a_batch_go_one_by_one_where_activations_spill_the_caches(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    network = dataclasses.replace(network_of(), batch=3)
    plan = make_plan(network, DEVICES["least of the embedded profile"], by_image=True)
    convolutions = [step for step in plan.steps if step.kernel.name == "conv"]
    connected = [step for step in plan.steps if step.kernel.name == "connected"]
    per_image = len([layer for layer in network.layers if layer.kind == "convolutional"])
    assert [step.image for step in convolutions] == [image for image in range(3) for _ in range(per_image)]
    assert {step.operation.problem.batch for step in convolutions} == {1}
    assert {step.operation.problem.batch for step in connected} == {3}
    assert {view.image for view in plan.views.values()} == {0, 1, 2}
    assert make_plan(network, LARGE_GPU).views == {}


def test_routes_of_images_that_go_one_by_one_are_no_copies_either(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    convolution = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=relu\n"
    joined = convolution * 2 + "[route]\nlayers=-2,-1\n"
    text = "[net]\nheight=8\nwidth=8\nchannels=3\n" + joined + joined + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    plan = make_plan(network_of(text + convolution + "[avgpool]\n", batch=2), DEVICES["CPU"])
    assert {step.image for step in plan.steps} >= {0, 1}
    assert "route" not in {step.label for step in plan.steps if step.image is not None}
    firsts = sorted(view.first_channel for view in plan.views.values() if view.image is None)
    assert firsts == sorted(2 * [0, 4, 0, 4, 4])


SPLIT = """\
[net]
height=16
width=16
channels=3
[convolutional]
filters=4
size=3
pad=1
activation=relu
[maxpool]
size=2
stride=2
[convolutional]
filters=4
size=3
pad=1
activation=relu
[connected]
output=7
activation=linear
"""


@pytest.mark.parametrize("separate_bytes", [0, 2**40])
def test_work_of_planning_grows_with_the_batch(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, separate_bytes: int
) -> None:
    """Counted in calls of functions, image by image and with buffers that tensors share."""
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    monkeypatch.setattr("clprune.plan.memory.SEPARATE_BYTES", separate_bytes)

    def planned(batch: int) -> tuple[int, int]:
        plan, calls = counted(network_of(SPLIT, batch=batch))
        return len([step for step in plan.steps if step.image is not None]), calls

    planned(2)  # what is found once
    (steps, calls), (more_steps, more_calls) = planned(64), planned(256)
    assert more_steps == 4 * steps > 0
    assert more_calls < 4.5 * calls


def counted(network: Network) -> tuple[Plan, int]:
    """A plan, and how many calls of functions it took."""
    profile = cProfile.Profile()
    plan = profile.runcall(make_plan, network, DEVICES["CPU"])
    return plan, sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize(
    "layers",
    [
        lambda count: "[dropout]\n[route]\nlayers=" + ",".join(["-1"] * count) + "\n",
        lambda count: "".join(f"[convolutional]\nsize=1\nfilters={filters}\n" for filters in range(1, count)),
    ],
)
def test_work_of_planning_grows_with_the_network(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, layers: Callable[[int], str]
) -> None:
    """Also where one layer has all the sources, or every tensor a layout of its own."""
    monkeypatch.setattr("clprune.plan.memory.SEPARATE_BYTES", 0)
    assert MOST_SECLUDED <= 200  # of all sizes of tensors that many are looked at; fewer show it in small networks
    monkeypatch.setattr("clprune.plan.memory.MOST_SECLUDED", 5)
    head = "[net]\nwidth=2\nheight=2\nchannels=3\n"
    counted(network_of(head + layers(10)))
    (_, calls), (_, more_calls) = (counted(network_of(head + layers(count))) for count in (40, 160))
    assert more_calls < 5 * calls


def test_network_that_the_device_has_no_memory_for_is_refused(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    for kind in ("CPU", "large GPU"):
        small = dataclasses.replace(DEVICES[kind], global_mem_bytes=2**22, max_alloc_bytes=2**20)
        assert make_plan(network_of(SPLIT, batch=2), small)
        with pytest.raises(LaunchError, match=r"batch 300 needs \d+ bytes in one buffer, .* has 1048576; use a"):
            make_plan(network_of(SPLIT, batch=300), small)
        large_buffers = dataclasses.replace(small, max_alloc_bytes=2**30)
        with pytest.raises(LaunchError, match=r"batch 999 needs \d+ bytes of device memory, .* has 4194304; use a"):
            make_plan(network_of(SPLIT, batch=999), large_buffers)
        with pytest.raises(LaunchError, match=r"batch 1 needs \d+ bytes of device memory, .* or another --device"):
            make_plan(network_of(SPLIT), dataclasses.replace(small, global_mem_bytes=2**10))


@pytest.mark.parametrize("kind", ["CPU", "large GPU"])
def test_absurd_batch_is_refused_before_anything_is_planned(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(PlanBuilder, "_add_layers", None)
    with pytest.raises(LaunchError, match=r"a tensor of \d+ values .* at most 2147483647 can be addressed; use a"):
        make_plan(network_of(SPLIT, batch=10**12), DEVICES[kind])


def test_batch_of_too_many_launches_is_taken_at_once(
    network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning and binding image by image would take longer than it saves."""
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    monkeypatch.setattr("clprune.plan.batching.MOST_LAUNCHES", 30)
    assert make_plan(network_of(SPLIT, batch=10), DEVICES["CPU"]).views != {}
    assert make_plan(network_of(SPLIT, batch=11), DEVICES["CPU"]).views == {}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("filters=4", "filters=2147483647", r"a tensor of \d+ values .*; expected a smaller network"),
        ("output=7", "output=2147483647", r"a tensor of \d+ values .*; expected a smaller network"),
        ("output=7", "output=100000000", r"\[connected\] \(line \d+\) has \d+ weights, at most 2147483647 can be"),
        ("output=7", "output=5000000", r"batch 1 needs \d+ bytes in one buffer, .*; expected a smaller network"),
        ("height=16", "height=2147483647", r"a tensor of \d+ values .*; expected a smaller network"),
    ],
)
def test_network_that_no_plan_fits_is_refused(
    network_of: Callable[..., Network], before: str, after: str, said: str
) -> None:
    network = network_of(SPLIT.replace(before, after, 1))
    with pytest.raises(LaunchError, match=said):
        check_network(network, DEVICES["CPU"])
    check_network(network_of(SPLIT), DEVICES["CPU"])
