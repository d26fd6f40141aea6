"""The unit that a device's tile gives, and networks that carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network, load_network
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, ConnectedTile
from clprune.kernels.conv import CONV, ConvTile
from clprune.plan.forms import cfg_forms
from clprune.plan.pruned import tile_units
from clprune.pruning.network import with_prune_options
from clprune.unit import Unit
from tests.imaginary import imaginary_device

CPU = imaginary_device(type="cpu", native_vector_width_float=16, max_work_group_size=4096)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "model.cfg"
    path.write_text(
        "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=16\nsize=3\npad=1\nactivation=relu\n"
        "[maxpool]\nsize=2\nstride=2\n[connected]\noutput=64\n[softmax]\n"
    )
    return load_network(path)


def test_default_tiles_where_nothing_is_tuned(network: Network) -> None:
    units = tile_units(network, CPU, lookup=None, sparsity=0.5)
    conv, connected = CONV.cpu_tiles[0], CONNECTED.cpu_tiles[1]
    assert units == {0: Unit(rows=conv.tile_m), 2: Unit(rows=connected.tile_m)}


def test_units_are_tall_where_that_makes_channels_vectors(network: Network, tmp_path: Path) -> None:
    """Of small images, and layers that have several such units; else they are as before."""
    text = network.path.read_text()
    for filters, side, is_tall in ((64, 8, True), (63, 8, False), (64, 16, False)):
        path = tmp_path / "small.cfg"
        path.write_text(text.replace("=16", f"={filters}").replace("=8\n", f"={side}\n"))
        unit = tile_units(load_network(path), CPU, lookup=None, sparsity=0.5)[0]
        assert unit.rows == 32 if is_tall else unit.rows < 32


def test_tuned_tiles_for_what_will_remain(network: Network) -> None:
    asked: dict[str, str] = {}

    def lookup(offer: Offer) -> tuple[Any, str] | None:
        asked[offer.kernel.name] = offer.workload.key
        if offer.kernel.name == "conv":
            return ConvTile(tile_m=4, vector_width=8, vectors=1, mapping="rows"), "tuned"
        return (ConnectedTile(vector_width=4, vectors=2), "tuned") if offer.kernel.name == "connected" else None

    units = tile_units(network, CPU, lookup=lookup, sparsity=0.75, fc_sparsity=0.5)
    assert units == {0: Unit(rows=4), 2: Unit(rows=8)}
    assert asked["conv"] == "kept0.25 unit8x1"
    assert asked["connected"] == "kept0.50 unit8x1"


def test_network_with_prune_options(network: Network) -> None:
    options = {0: PruneOptions(method="workgroup", unit=Unit(rows=4), sparsity=0.75)}
    pruned = with_prune_options(network, options)
    assert isinstance(pruned.layers[0], Convolutional)
    assert pruned.layers[0].prune == options[0]
    assert isinstance(pruned.layers[2], Connected)
    assert pruned.layers[2].prune is None
    assert {index: form.workload.key for index, form in cfg_forms(pruned).items()} == {0: "kept0.25 unit4x1"}
    assert cfg_forms(network) == {}


def test_rows_of_a_simd_group_and_of_a_work_group(network: Network) -> None:
    gpu = imaginary_device()

    def lookup(offer: Offer) -> tuple[Any, str] | None:
        if offer.kernel.name == "conv":
            return ConvTile(tile_m=4, vector_width=4, vectors=1, group_m=2, group_n=32, mapping="rows"), "tuned"
        if offer.kernel.name == "connected":
            return ConnectedTile(vector_width=1, vectors=2, group_m=16, group_k=4), "tuned"
        return None

    wavefront = tile_units(network, gpu, lookup=lookup, sparsity=0.5, tile_rows="wavefront")
    workgroup = tile_units(network, gpu, lookup=lookup, sparsity=0.5, tile_rows="workgroup")
    # lanes of a convolution are positions and share rows; lanes of a connected layer are rows and share columns
    assert wavefront == {0: Unit(rows=4), 2: Unit(rows=32)}
    assert workgroup == {0: Unit(rows=8), 2: Unit(rows=32)}
