"""Which layout each tensor gets: enough padding for every reader, one pitch along chains of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.network import Network, load_network
from clprune.layout import contiguous_layout
from clprune.plan.layouts import NETWORK_INPUT, assign_layouts, tensor_aliases, tensor_shapes
from tests.random_networks import random_cfg

NET = "[net]\nheight=6\nwidth=8\nchannels=2\n\n"


def conv(**options: int) -> str:
    return "[convolutional]\nactivation=linear\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def test_chain_of_stride_one_shares_pitch_and_padding(network_of: Callable[..., Network]) -> None:
    """The widest padding of the chain, 5x5's 2, counts for all of it."""
    network = network_of(
        NET + conv(filters=3, size=3, pad=1) + conv(filters=3, size=5, pad=1) + conv(filters=1, size=1)
    )
    layouts = assign_layouts(network, {}, batch=network.batch)
    assert set(layouts) == {NETWORK_INPUT, 0, 1, 2}
    assert {layout.pitch for layout in layouts.values()} == {8 + 2}
    assert {layout.origin for layout in layouts.values()} == {2 * 10 + 2}


def test_stride_two_begins_a_new_pitch(network_of: Callable[..., Network]) -> None:
    network = network_of(NET + conv(filters=3, size=3, pad=1, stride=2) + conv(filters=3, size=3, pad=1))
    layouts = assign_layouts(network, {}, batch=network.batch)
    assert layouts[NETWORK_INPUT].pitch == 8 + 1
    assert layouts[0].pitch == layouts[1].pitch == 4 + 1


def test_convolution_without_padding_shrinks_inside_one_pitch(network_of: Callable[..., Network]) -> None:
    network = network_of(NET + conv(filters=3, size=3))
    layouts = assign_layouts(network, {}, batch=network.batch)
    assert layouts[0].pitch == layouts[NETWORK_INPUT].pitch == 8
    assert layouts[0].shape.width == 6


def test_tensors_that_no_convolution_touches_are_contiguous(network_of: Callable[..., Network]) -> None:
    network = network_of(NET + "[maxpool]\nsize=2\nstride=2\n\n[connected]\noutput=3\n\n[softmax]\n")
    shapes = tensor_shapes(network)
    layouts = assign_layouts(network, {}, batch=network.batch)
    assert layouts == {tensor: contiguous_layout(batch=1, shape=shapes[tensor]) for tensor in (NETWORK_INPUT, 0, 1, 2)}


def test_identities_have_no_tensor_of_their_own(network_of: Callable[..., Network]) -> None:
    network = network_of(
        NET + conv(filters=3, size=1) + "[dropout]\n\n[route]\nlayers=0\n\n[route]\nlayers=0,1\n\n[cost]\n"
    )
    assert tensor_aliases(network, {}) == {NETWORK_INPUT: NETWORK_INPUT, 0: 0, 1: 0, 2: 0, 3: 3, 4: 3}
    assert set(assign_layouts(network, {}, batch=network.batch)) == {NETWORK_INPUT, 0, 3}


def test_fused_convolution_has_no_tensor(network_of: Callable[..., Network]) -> None:
    network = network_of(NET + conv(filters=3, size=3, pad=1) + "[maxpool]\nsize=2\nstride=2\n")
    layouts = assign_layouts(network, {0: 1}, batch=network.batch)
    assert set(layouts) == {NETWORK_INPUT, 1}
    assert layouts[1].shape.width == 4


def test_every_reader_finds_enough_padding(tmp_path: Path) -> None:
    for seed in range(60):
        path = tmp_path / "random.cfg"
        path.write_text(random_cfg(seed))
        network = load_network(path, batch=1 + seed % 3)
        aliases, layouts = tensor_aliases(network, {}), assign_layouts(network, {}, batch=network.batch)
        for layer in network.layers:
            if isinstance(layer, Convolutional | Local):
                layout, padding = layouts[aliases[layer.sources[0]]], max(layer.window.padding)
                assert layout.pitch - layout.shape.width >= padding
                assert layout.origin >= padding * (layout.pitch + 1)
                assert layout.image_stride >= (layout.shape.height + padding) * layout.pitch
