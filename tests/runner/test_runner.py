"""Whole networks on the device against their definition; the same bits each time; mistakes in one clear sentence."""

from __future__ import annotations

import dataclasses
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clprune
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.weights import write_weights
from clprune.errors import NoDeviceError, UsageError, WeightsError
from clprune.kernels.base import Offer
from clprune.opencl import Session
from clprune.runner import Runner
from clprune.tiles.store import open_store
from tests.random_networks import answers, random_network, tolerance
from tests.runner.conftest import images

Make = Callable[..., Runner]


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(runner_of: Make, tmp_path: Path, seed: int) -> None:
    """Batches of 1, 2 and 3; four images, so that the last batch is mostly not full; half of them pruned."""
    network, weights = random_network(tmp_path, seed, batch=1 + seed % 3)
    x = images(network, 4, seed=seed)
    wanted = answers(network, weights, x)
    with runner_of(network, weights) as runner:
        got = runner(x)
        again = runner(x)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape == (4, network.outputs)
    assert float(np.abs(got - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())
    assert np.array_equal(got, again)


def test_same_bits_from_another_runner_and_another_batch_position(runner_of: Make, tmp_path: Path) -> None:
    """Determinism: the same plan gives the same bits; an image's answer does not depend on its neighbours."""
    network, weights = random_network(tmp_path, 3, batch=2)
    x = images(network, 4)
    with runner_of(network, weights) as runner:
        first = runner(x)
        assert np.array_equal(runner(x[[2, 3, 0, 1]]), first[[2, 3, 0, 1]])
        assert np.array_equal(runner(x[[1, 0]]), first[[1, 0]])
    with runner_of(network, weights) as other:
        assert np.array_equal(other(x), first)


@pytest.mark.parametrize("cached_bytes", [0, 2000, 20000])
def test_images_one_by_one_or_together(
    runner_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_bytes: int
) -> None:
    """Wherever the part that takes images one by one ends."""
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", cached_bytes)
    for seed in (2, 5, 8, 11):  # whose batches are of three images above, too: their kernels are built
        network, weights = random_network(tmp_path, seed, batch=3)
        x = images(network, 4, seed=seed)
        wanted = answers(network, weights, x)
        with runner_of(network, weights) as runner:
            got = runner(x)
        assert float(np.abs(got - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())


def test_kept_tensors_change_nothing(runner_of: Make, tmp_path: Path) -> None:
    """Buffers of their own or shared ones: the same bits."""
    for seed in (1, 2, 5):
        network, weights = random_network(tmp_path, seed, batch=2)
        x = images(network, 2)
        with runner_of(network, weights) as shared, runner_of(network, weights, keep_tensors=True) as separate:
            assert np.array_equal(shared(x), separate(x))


JOINS = """\
[net]
height=6
width=8
channels=3
[conv]
filters=8
size=3
pad=1
activation=leaky
[route]
layers=0
groups=2
group_id=1
[conv]
filters=8
size=3
pad=1
activation=leaky
[route]
layers=-1,0
groups=2
[route]
layers=-1,-2,0
[conv]
filters=4
[shortcut]
from=0,1
weights_type=per_channel
weights_normalization=softmax
activation=relu
[shortcut]
from=1
alpha=.5
activation=leaky
[shortcut]
from=0,2
[reorg3d]
stride=2
[reorg]
stride=2
reverse=1
[route]
layers=10,3
[route]
layers=11,11,4
[conv]
filters=5
size=3
pad=1
[reorg]
extra=2
"""


@pytest.mark.parametrize(("batch", "cached_bytes"), [(1, None), (2, None), (2, 0)])
def test_joins(
    runner_of: Make,
    network_of: Callable[..., Network],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    cached_bytes: int | None,
) -> None:
    """Groups, sums of several with weights, other orders, the same source twice and in several routes; image by image
    as well.
    """
    if cached_bytes is not None:
        monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", cached_bytes)
    network = network_of(JOINS, batch=batch)
    weights = random_weights(network, seed=1)
    x = images(network, 3)
    for cut in (network, *(network.until(index) for index in (1, 6, 8, 10))):
        wanted = answers(cut, weights, x)
        with runner_of(cut, weights) as runner:
            got = runner(x)
        assert float(np.abs(got - wanted).max()) <= tolerance(cut) * float(np.abs(wanted).max())


#: A shortcut whose own summand a route brings, and whose other one is computed in between; depthwise, then blurred.
CROSSED = """\
[net]
height=6
width=5
channels=3
[conv]
filters=4
[conv]
filters=4
[route]
layers=0
[conv]
filters=4
size=3
pad=1
[route]
layers=1
[shortcut]
from=3
[conv]
filters=4
groups=4
size=3
pad=1
antialiasing=1
activation=linear
[conv]
filters=4
[conv]
filters=4
[shortcut]
from=-2,-3
weights_type=per_channel
[conv]
filters=2
[conv]
filters=4
[shortcut]
from=-2
weights_type=per_channel
"""


@pytest.mark.parametrize("cached_bytes", [0, 8 * 2**20])
def test_summands_that_cross(
    runner_of: Make, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, cached_bytes: int
) -> None:
    """Against layers computed one by one, as a plan's own reference would follow a wrong order of steps; image by image
    as for the whole batch.
    """
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", cached_bytes)
    network = network_of(CROSSED, batch=2)
    weights = random_weights(network, seed=1)
    x = images(network, 2)
    with runner_of(network.until(1), weights) as one, runner_of(network.until(3), weights) as other:
        wanted = one(x) + other(x)
    with runner_of(network.until(5), weights) as runner:
        np.testing.assert_allclose(runner(x), wanted, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 8 * 2**20)
    with runner_of(network, weights) as runner:
        whole = runner(x)
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", 0)
    with runner_of(network, weights) as runner:
        np.testing.assert_allclose(runner(x), whole, rtol=1e-5, atol=1e-5)


RESIDUAL = """\
[net]
height=12
width=10
channels=3
[conv]
filters=8
size=3
pad=1
activation=leaky
[conv]
filters=8
size=3
pad=1
activation=linear
[dropout]
[shortcut]
from=0
activation=leaky
[conv]
filters=8
activation=mish
[shortcut]
from=-2
[conv]
filters=8
[shortcut]
from=-2
[route]
layers=-2,-1
[conv]
filters=12
size=3
stride=2
pad=1
[conv]
filters=12
[shortcut]
from=-2
"""


@pytest.mark.parametrize("cached_bytes", [0, 8 * 2**20])
def test_shortcuts_in_the_convolution_before_them(
    runner_of: Make, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, cached_bytes: int
) -> None:
    """Those whose convolution nobody else reads, image by image as well; a dropout between them is nothing."""
    monkeypatch.setattr("clprune.plan.batching.CACHED_BYTES", cached_bytes)
    for batch in (1, 2):
        network = network_of(RESIDUAL, batch=batch)
        weights = random_weights(network, seed=1)
        x = images(network, 3)
        wanted = answers(network, weights, x)
        with runner_of(network, weights) as runner:
            got = runner(x)
            alone = [step.step.layer.index for step in runner.bound.steps if step.step.label == "shortcut"]
        assert set(alone) == {7}
        assert float(np.abs(got - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_values_of_any_layer(runner_of: Make, tmp_path: Path, batch: int) -> None:
    network, weights = random_network(tmp_path, 1, batch=batch)
    x = images(network, 4)
    for index in range(len(network.layers)):
        wanted = answers(network.until(index), weights, x)
        with runner_of(network, weights, until=index) as runner:
            (got,) = runner.outputs(x)
        assert got.shape == (4, *network.layers[index].output.dimensions)
        assert float(np.abs(got.reshape(4, -1) - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_any_number_of_images(runner_of: Make, network_of: Callable[..., Network], count: int) -> None:
    network = network_of(batch=3)
    weights = random_weights(network, seed=1)
    x = images(network, 7)
    with runner_of(network, weights) as runner:
        assert np.array_equal(runner(x[:count]), runner(x)[:count])
        assert runner(x[:count]).shape == (count, 7)


def test_safe_tiles_give_the_same_answer(device_context: Session, network_of: Callable[..., Network]) -> None:
    network = network_of(batch=2)
    weights, x = random_weights(network, seed=1), images(network, 2)
    tiles: list[Any] = []

    def safe(offer: Offer) -> tuple[Any, str]:
        tiles.append(offer.kernel.safe_tile(offer.operation))
        return tiles[-1], "safe"

    with Runner(network, weights, session=device_context, lookup=safe) as runner:
        got = runner(x)
    assert tiles
    wanted = answers(network, weights, x)
    assert float(np.abs(got - wanted).max()) <= tolerance(network) * float(np.abs(wanted).max())


def test_everything_removed_leaves_biases(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    weights = random_weights(network, seed=1)
    layers = tuple(
        values and dataclasses.replace(values, weights=np.zeros_like(values.weights)) for values in weights.layers
    )
    bare = dataclasses.replace(weights, layers=layers)
    x = images(network, 2)
    with runner_of(network, bare) as runner:
        got = runner(x)
    assert np.array_equal(got[0], got[1])
    assert float(np.abs(got - answers(network, bare, x)).max()) < 1e-6


def test_from_files_as_the_readme_says(
    device_context: Session, network_of: Callable[..., Network], tmp_path: Path
) -> None:
    network = network_of()
    weights = random_weights(network, seed=1)
    write_weights(tmp_path / "network.weights", network, weights)
    write_weights(tmp_path / "other.weights", network, random_weights(network, seed=2))
    x = images(network, 3)
    with clprune.Runner(str(network.path), tmp_path / "network.weights", device=None, batch=2) as runner:
        got = runner(x)
    with clprune.Runner(network.path) as beside, clprune.Runner(network.path, tmp_path / "other.weights") as other:
        assert beside.network.batch == 1
        assert np.allclose(beside(x), got, atol=1e-6)
        assert not np.allclose(other(x), got, atol=1e-3)
    assert np.allclose(got, answers(network, weights, x), atol=1e-6)


def test_threads_share_a_runner(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of(batch=2)
    x = images(network, 12)
    with runner_of(network, random_weights(network, seed=1)) as runner:
        wanted = runner(x)
        results: dict[int, Any] = {}

        def run(first: int) -> None:
            results[first] = [runner(x[first : first + 3]) for _ in range(5)]

        threads = [threading.Thread(target=run, args=(first,)) for first in range(0, 12, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == [0, 3, 6, 9]
    for first, answers_of_thread in results.items():
        for answer in answers_of_thread:
            assert np.array_equal(answer, wanted[first : first + 3])


@pytest.mark.parametrize(
    ("shape", "dtype", "text"),
    [
        ((3, 9, 11), np.float32, r"input of shape \(3, 9, 11\): expected \[N, 3, 9, 11\]"),
        ((1, 9, 11, 3), np.float32, r"expected \[N, 3, 9, 11\]"),
        ((1, 3, 11, 9), np.float32, r"expected \[N, 3, 9, 11\]"),
        ((1, 3, 9, 11), np.uint8, "input of uint8: expected float32"),
    ],
)
def test_wrong_input(runner_of: Make, network_of: Callable[..., Network], shape: Any, dtype: Any, text: str) -> None:
    network = network_of()
    with runner_of(network, random_weights(network, seed=1)) as runner, pytest.raises(UsageError, match=text):
        runner(np.zeros(shape, dtype))


def test_other_float_types_and_strides_are_taken(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    x = images(network, 2)
    with runner_of(network, random_weights(network, seed=1)) as runner:
        wanted = runner(x)
        assert np.array_equal(runner(x.astype(np.float64)), wanted)
        assert np.array_equal(runner(np.asfortranarray(x)), wanted)
        assert np.array_equal(runner(x[:, :, ::-1, ::-1][:, :, ::-1, ::-1]), wanted)


def test_closed_runner_says_so(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    runner = runner_of(network, random_weights(network, seed=1))
    runner.close()
    runner.close()
    with pytest.raises(UsageError, match="this Runner is closed"):
        runner(images(network, 1))


def test_layer_without_weights_is_named(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    weights = random_weights(network, seed=1)
    holes = dataclasses.replace(weights, layers=(None, *weights.layers[1:]))
    with pytest.raises(UsageError, match=r"network\.cfg:6: layer 0 \[convolutional\] has no weights to run with"):
        runner_of(network, holes)


def test_missing_weights_file(network_of: Callable[..., Network]) -> None:
    network = network_of()
    with pytest.raises(WeightsError, match=r"network\.weights: "):
        Runner(network)


def test_unknown_device(network_of: Callable[..., Network]) -> None:
    network = network_of()
    with pytest.raises(NoDeviceError, match="no platform or device fits"):
        Runner(network, random_weights(network, seed=1), device="a device that nobody has")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux lists them")
def test_no_file_stays_open(device_context: Session, network_of: Callable[..., Network]) -> None:
    """Neither the tuning database, which every Runner asks for tiles, nor its log."""
    network = network_of()
    weights = random_weights(network, seed=0)
    gc.collect()  # what earlier tests left
    counts = []
    for _ in range(12):
        with Runner(network, weights, session=device_context):
            pass
        with open_store(to_write=True):
            pass
        counts.append(len([*Path("/proc/self/fd").iterdir()]))
    assert counts[-1] == counts[0]
