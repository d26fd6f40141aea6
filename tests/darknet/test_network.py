"""Networks: every layer's shape against values worked out by hand, and every impossible one refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from clprune.darknet.cfg import CfgWarning
from clprune.darknet.kinds.base import Layer, PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.kinds.functions import Activation, Cost, Dropout, Softmax
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm, Normalization
from clprune.darknet.kinds.planes import Crop, Reorg, Upsample
from clprune.darknet.kinds.pools import AvgPool, MaxPool, _has_window_outside
from clprune.darknet.kinds.windowed import WindowedLayer
from clprune.darknet.network import Network, load_network
from clprune.errors import CfgError, UnsupportedLayerError, UsageError
from clprune.geometry import ConnectedProblem, ConvProblem, Shape, Window
from clprune.unit import Unit

MODELS = Path(__file__).parents[2] / "models"


def shape(channels: int, height: int, width: int) -> Shape:
    return Shape(channels=channels, height=height, width=width)


def load(folder: Path, layers: str, *, net: str = "height=9\nwidth=11\nchannels=4\n", batch: int = 1) -> Network:
    path = folder / "a.cfg"
    path.write_text(f"[net]\n{net}{layers}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_network(path, batch=batch)


def last(folder: Path, layers: str, *, net: str = "height=9\nwidth=11\nchannels=4\n") -> Layer:
    return load(folder, layers, net=net).layers[-1]


def test_convolutional_defaults(tmp_path: Path) -> None:
    layer = last(tmp_path, "[convolutional]\n")
    assert isinstance(layer, Convolutional)
    assert (layer.filters, layer.window, layer.groups) == (1, Window.square(1), 1)
    assert (layer.activation, layer.batch_normalize, layer.dontload, layer.prune) == ("logistic", False, False, None)
    assert (layer.index, layer.line, layer.kind, layer.sources) == (0, 5, "convolutional", (-1,))
    assert (layer.input, layer.output) == (shape(4, 9, 11), shape(1, 9, 11))


@pytest.mark.parametrize(
    ("keys", "padding", "expected"),
    [
        ("size=3", 0, (7, 9)),
        ("size=3\npad=1", 1, (9, 11)),
        ("size=3\nstride=2\npad=1", 1, (5, 6)),
        ("size=3\nstride=2\npadding=0", 0, (4, 5)),
        ("size=5\npadding=1", 1, (7, 9)),
        ("size=5\npadding=1\npad=1", 2, (9, 11)),
        ("size=2\npad=1", 1, (10, 12)),
        ("size=9\nstride=4", 0, (1, 1)),
        ("size=13\npadding=3", 3, (3, 5)),
    ],
)
def test_convolutional_shapes(tmp_path: Path, keys: str, padding: int, expected: tuple[int, int]) -> None:
    layer = last(tmp_path, f"[convolutional]\nfilters=6\n{keys}\n")
    assert isinstance(layer, Convolutional)
    assert layer.window.padding == (padding,) * 4
    assert layer.output == shape(6, *expected)
    problem = layer.problem(2)
    assert (problem.out_height, problem.out_width) == expected


def test_convolutional_problem(tmp_path: Path) -> None:
    text = "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\ngroups=2\nactivation=leaky\nbatch_normalize=1\n"
    layer = last(tmp_path, text)
    assert isinstance(layer, Convolutional)
    assert (layer.activation, layer.batch_normalize) == ("leaky", True)
    assert layer.weights_shape == (6, 2, 3, 3)
    assert layer.problem(5) == ConvProblem.square(
        batch=5, in_channels=4, in_height=9, in_width=11, out_channels=6, size=3, stride=2, padding=1, groups=2
    )


def test_connected_flattens(tmp_path: Path) -> None:
    layer = last(tmp_path, "[connected]\noutput=7\nactivation=relu\n")
    assert isinstance(layer, Connected)
    assert (layer.outputs, layer.output, layer.weights_shape) == (7, shape(7, 1, 1), (7, 396))
    assert layer.problem(3) == ConnectedProblem(batch=3, inputs=396, outputs=7)
    default = last(tmp_path, "[conn]\n")
    assert isinstance(default, Connected)
    assert (default.outputs, default.activation) == (1, "logistic")


@pytest.mark.parametrize(
    ("keys", "fields", "expected"),
    [
        ("", (1, 1, 0), (9, 11)),
        ("stride=2", (2, 2, 1), (5, 6)),
        ("size=2\nstride=2\npadding=0", (2, 2, 0), (4, 5)),
        ("size=3\nstride=2", (3, 2, 2), (5, 6)),
        ("size=2\nstride=1", (2, 1, 1), (9, 11)),
        ("size=3\nstride=3\npadding=1", (3, 3, 1), (3, 4)),
        ("size=1\nstride=2", (1, 2, 0), (5, 6)),
    ],
)
def test_maxpool(tmp_path: Path, keys: str, fields: tuple[int, int, int], expected: tuple[int, int]) -> None:
    layer = last(tmp_path, f"[maxpool]\n{keys}\n")
    assert isinstance(layer, MaxPool)
    size, stride, total = fields
    before, after = total // 2, total - total // 2
    borders = {"top": before, "left": before, "bottom": after, "right": after}
    assert layer.window == replace(Window.square(size, stride=stride), **borders)
    assert layer.output == shape(4, *expected)


UNEVEN = "size_y=2\nsize_x=3\nstride_y=2\nstride_x=3\ndilation_y=2\npadding_top=1\npadding_left=0\npadding_bottom=0\n"


@pytest.mark.parametrize(
    ("section", "window", "expected"),
    [
        ("[convolutional]\nsize=3\npad=1\ndilation=2", replace(Window.square(3, padding=2), dilation_y=2, dilation_x=2),
         (1, 9, 11)),
        ("[convolutional]\nsize=1\npadding=1\ndilation=2", Window.square(1, padding=1), (1, 11, 13)),
        ("[convolutional]\nsize_x=7\npad=1", replace(Window.square(1), size_x=7, left=3, right=3), (1, 9, 11)),
        ("[convolutional]\nsize=3\nstride=2\nstride_x=1\npad=1", replace(Window.square(3, padding=1), stride_y=2),
         (1, 5, 11)),
        (f"[convolutional]\n{UNEVEN}padding_right=2",
         Window(size_y=2, size_x=3, stride_y=2, stride_x=3, dilation_y=2, top=1, right=2), (1, 4, 4)),
        (f"[maxpool]\n{UNEVEN}padding_right=2",
         Window(size_y=2, size_x=3, stride_y=2, stride_x=3, dilation_y=2, top=1, right=2), (4, 4, 4)),
        ("[local_avgpool]\nsize=3\nstride=2", Window.square(3, stride=2, padding=1), (4, 5, 6)),
        ("[maxpool]\nmaxpool_depth=1\nout_channels=3", Window.square(1), (3, 9, 11)),
    ],
)  # fmt: skip
def test_windows(tmp_path: Path, section: str, window: Window, expected: tuple[int, int, int]) -> None:
    layer = last(tmp_path, section + "\n")
    assert isinstance(layer, WindowedLayer)
    assert layer.window == window
    assert layer.output == shape(*expected)


@pytest.mark.parametrize(("antialiasing", "expected"), [(1, (5, 6)), (2, (4, 5))])
@pytest.mark.parametrize("section", ["[convolutional]\nfilters=4\npad=1", "[maxpool]"])
def test_a_blur_takes_the_stride_over(
    tmp_path: Path, section: str, antialiasing: int, expected: tuple[int, int]
) -> None:
    layer = last(tmp_path, f"{section}\nsize=3\nstride=2\nantialiasing={antialiasing}\n")
    assert isinstance(layer, WindowedLayer)
    assert (layer.own_window, layer.inner) == (Window.square(3, padding=1), shape(4, 9, 11))
    assert layer.output == shape(4, *expected)
    assert layer.blur is not None and (layer.blur.stride_y, layer.blur.places) == (2, len(layer.blur_weights))
    assert sum(layer.blur_weights) == 1


def test_layers_that_keep_the_shape(tmp_path: Path) -> None:
    text = (
        "[dropout]\nprobability=.3\n[batchnorm]\n[activation]\nactivation=mish\n[normalization]\nsize=3\n"
        "[softmax]\ngroups=2\ntemperature=2\n[cost]\ntype=sse\n"
    )
    network = load(tmp_path, text)
    dropout, batchnorm, activation, normalization, softmax, cost = network.layers
    assert all(layer.output == layer.input == network.input for layer in network.layers)
    assert [layer.sources for layer in network.layers] == [(-1,), (0,), (1,), (2,), (3,), (4,)]
    assert isinstance(dropout, Dropout) and dropout.probability == 0.3
    assert isinstance(batchnorm, BatchNorm)
    assert isinstance(activation, Activation) and activation.activation == "mish"
    assert isinstance(normalization, Normalization)
    assert (normalization.alpha, normalization.beta, normalization.kappa, normalization.size) == (1e-4, 0.75, 1, 3)
    assert isinstance(softmax, Softmax) and (softmax.groups, softmax.temperature) == (2, 2.0)
    assert isinstance(cost, Cost)


def test_avgpool_crop_upsample_reorg(tmp_path: Path) -> None:
    layer = last(tmp_path, "[avgpool]\n")
    assert isinstance(layer, AvgPool) and layer.output == shape(4, 1, 1)
    layer = last(tmp_path, "[crop]\ncrop_height=5\ncrop_width=11\nflip=1\nangle=0\nnoadjust=1\n")
    assert isinstance(layer, Crop) and layer.noadjust and layer.output == shape(4, 5, 11)
    layer = last(tmp_path, "[upsample]\n")
    assert isinstance(layer, Upsample) and (layer.stride, layer.scale, layer.output) == (2, 1.0, shape(4, 18, 22))
    layer = last(tmp_path, "[reorg]\nstride=2\n", net="height=6\nwidth=4\nchannels=8\n")
    assert isinstance(layer, Reorg) and not layer.reverse and layer.output == shape(32, 3, 2)
    layer = last(tmp_path, "[reorg]\nstride=2\nreverse=1\n")
    assert isinstance(layer, Reorg) and layer.reverse and layer.output == shape(1, 18, 22)


@pytest.mark.parametrize(("pad", "expected"), [(0, (4, 5)), (1, (5, 6))])
def test_local(tmp_path: Path, pad: int, expected: tuple[int, int]) -> None:
    layer = last(tmp_path, f"[local]\nfilters=3\nsize=3\nstride=2\npad={pad}\nactivation=leaky\n")
    assert isinstance(layer, Local)
    assert layer.output == shape(3, *expected)
    assert layer.weights_shape == (expected[0] * expected[1], 3, 4, 3, 3)


BRANCHES = "[convolutional]\nfilters=3\n[convolutional]\nfilters=5\n"


def test_route_joins_channels(tmp_path: Path) -> None:
    layer = last(tmp_path, BRANCHES + "[route]\nlayers = -1, 0\n")
    assert isinstance(layer, Route)
    assert (layer.sources, layer.input, layer.output) == ((1, 0), shape(5, 9, 11), shape(8, 9, 11))
    single = last(tmp_path, BRANCHES + "[route]\nlayers=-2\n")
    assert (single.sources, single.output) == ((0,), shape(3, 9, 11))


def test_shortcut(tmp_path: Path) -> None:
    layer = last(tmp_path, BRANCHES + "[shortcut]\nfrom=-2\nactivation=leaky\nalpha=.5\n")
    assert isinstance(layer, Shortcut)
    assert (layer.sources, layer.output) == ((1, 0), shape(5, 9, 11))
    assert (layer.activation, layer.alpha, layer.beta) == ("leaky", 0.5, 1.0)
    text = "[convolutional]\nfilters=3\n[convolutional]\nstride=2\nfilters=5\n[shortcut]\nfrom=0\n"
    strided = last(tmp_path, text, net="height=8\nwidth=12\nchannels=4\n")
    assert (strided.sources, strided.input, strided.output) == ((1, 0), shape(5, 4, 6), shape(5, 4, 6))


def test_outputs_skip_the_cost(tmp_path: Path) -> None:
    network = load(tmp_path, "[connected]\noutput=10\n[softmax]\n[cost]\n", batch=3)
    assert network.batch == 3
    assert [layer.index for layer in network.output_layers] == [1]
    assert network.outputs == 10
    assert network.net_options["height"] == "9"


def test_every_head_is_an_output(tmp_path: Path) -> None:
    head = "[yolo]\nclasses=1\nnum=1\n"
    network = load(tmp_path, f"[conv]\nfilters=6\n{head}[route]\nlayers=0\n[conv]\nfilters=6\nstride=2\n{head}")
    assert [layer.index for layer in network.output_layers] == [1, 4]
    assert network.outputs == 6 * (9 * 11 + 5 * 6)
    for index in (2, -3):
        cut = network.until(index)
        assert ([layer.index for layer in cut.output_layers], cut.outputs) == ([2], 6 * 9 * 11)
    with pytest.raises(UsageError, match=r"no layer 5: expected 0 to 4, or -1 to -5"):
        network.until(5)


def test_inputs_instead_of_an_image(tmp_path: Path) -> None:
    network = load(tmp_path, "[connected]\noutput=2\n", net="inputs=30\n")
    assert network.input == shape(30, 1, 1)
    with pytest.raises(CfgError, match=r":3: .*height, width and channels"):
        load(tmp_path, "[convolutional]\n", net="inputs=30\n")
    with pytest.raises(CfgError, match=r":5: .*expected 396"):
        load(tmp_path, "[connected]\n", net="height=9\nwidth=11\nchannels=4\ninputs=30\n")


def test_prune_options(tmp_path: Path) -> None:
    keys = "prune_method=workgroup\nprune_unit=8x1\nprune_sparsity=0.75\n"
    expected = PruneOptions(method="workgroup", unit=Unit(rows=8), sparsity=0.75)
    layer = last(tmp_path, f"[convolutional]\n{keys}")
    assert isinstance(layer, Convolutional) and layer.prune == expected
    layer = last(tmp_path, f"[connected]\n{keys}")
    assert isinstance(layer, Connected) and layer.prune == expected


@pytest.mark.parametrize(
    ("layers", "line", "words"),
    [
        ("[convolutional]\nsize=10\n", 6, "no output is left"),
        ("[convolutional]\nsize=12\npadding=1\n", 6, "9 pixels and 2 of padding"),
        ("[convolutional]\nfilters=0\n", 6, "at least 1"),
        ("[convolutional]\nstride=0\n", 6, "at least 1"),
        ("[convolutional]\npadding=-1\n", 6, "at least 0"),
        ("[convolutional]\nfilters=6\ngroups=3\n", 7, "does not divide the 4 input channels"),
        ("[convolutional]\nfilters=6\ngroups=4\n", 7, "does not divide the 6 filters"),
        ("[convolutional]\nactivation=rellu\n", 6, "unknown activation 'rellu'.*relu"),
        ("[convolutional]\nsize=5\ndilation=3\n", 6, "size=13 is larger than the input's side of 9 pixels"),
        ("[convolutional]\nxnor=1\ngroups=4\nfilters=4\n", 7, "differ about groups"),
        ("[convolutional]\nnumload=2\n", 6, "at most 1 filters"),
        ("[convolutional]\n[convolutional]\nshare_index=0\n", 7, "shares the weights of layer 0.*of the same form"),
        ("[convolutional]\nstride_x=0\n", 6, "at least 1"),
        ("[maxpool]\nmaxpool_depth=1\nout_channels=5\n", 7, "at most the 4 channels"),
        ("[convolutional]\nprune_method=workgroup\nprune_unit=8x1\n", 6, "no prune_sparsity"),
        ("[connected]\nprune_method=w\nprune_unit=8\nprune_sparsity=0\n", 7, "ROWSxCOLUMNS"),
        ("[connected]\nprune_method=w\nprune_unit=8x1\nprune_sparsity=1\n", 8, "less than 1"),
        ("[connected]\noutput=0\n", 6, "at least 1"),
        ("[maxpool]\nsize=10\npadding=0\n", 6, "no output is left"),
        ("[maxpool]\nsize=2\npadding=4\n", 7, "wholly outside"),
        ("[maxpool]\nsize=2147483647\nstride=2\n", 6, "expected a smaller one"),
        ("[maxpool]\nsize=2\npadding=2147483647\n", 7, "wholly outside"),
        ("[maxpool]\nsize=2\ndilation=1000000000\n", 5, "wholly outside"),
        ("[maxpool]\nsize=2\npadding=5\n", 7, "wholly outside"),
        ("[dropout]\nprobability=1.5\n", 6, "expected 0 to 1"),
        ("[softmax]\ngroups=5\n", 6, "does not divide"),
        ("[softmax]\ntemperature=0\n", 6, "more than 0"),
        ("[softmax]\ntree=a.tree\n", 6, "tree: a.tree: no such file"),
        ("[crop]\ncrop_height=10\ncrop_width=2\n", 6, "at most 9"),
        ("[upsample]\nstride=-2\n", 6, "at least 1"),
        ("[reorg]\nstride=2\n", 6, "does not divide the input 4x9x11"),
        ("[reorg]\nstride=3\n", 6, "divisible by 9"),
        ("[normalization]\nsize=0\n", 6, "at least 1"),
        ("[local]\nsize=10\n", 6, "no output is left"),
        ("[route]\nlayers=-1\n", 6, "names layer -1.*first layer"),
        ("[route]\n", 5, "no layers="),
        (BRANCHES + "[route]\nlayers=2\n", 10, "does not come before layer 2: expected 0 to 1 or -1 to -2"),
        (BRANCHES + "[route]\nlayers=-3\n", 10, "does not come before"),
        (BRANCHES + "[route]\nlayers=0,\n", 10, "whole number"),
        (BRANCHES + "[route]\nlayers=0\ngroups=2\n", 11, "does not divide layer 0"),
        (BRANCHES + "[route]\nlayers=0\ngroups=3\ngroup_id=3\n", 12, "expected less than groups=3"),
        (BRANCHES + "[shortcut]\nfrom=0\nweights_type=all\n", 11, "expected one of none, per_feature"),
        (BRANCHES + "[shortcut]\nfrom=0,1\nalpha=2\n", 11, "alpha with several from= or weights_type=: expected 1"),
        (BRANCHES + "[sam]\nfrom=0\n", 10, r"multiplies layer 0 \(3x9x11\) by 5x9x11: expected 3x9x11"),
        (BRANCHES + "[scale_channels]\nfrom=0\n", 10, "expected 3x1x1"),
        ("[reorg3d]\nstride=2\nreverse=1\n", 6, "expected output channels divisible by 4"),
        (BRANCHES + "[maxpool]\nstride=2\n[route]\nlayers=-1,0\n", 12, r"layer 2 \(5x5x6\) and layer 0 \(3x9x11\)"),
        (BRANCHES + "[shortcut]\n", 9, "no from="),
        (BRANCHES + "[shortcut]\nfrom=5\n", 10, "does not come before"),
        (BRANCHES + "[shortcut]\nfrom=-1,\n", 10, "whole number"),
        ("[crop]\ncrop_height=9\ncrop_width=5\n[conv]\nstride=2\n[shortcut]\nfrom=0\nalpha=x\n", 12, "a number"),
        ("[conv]\n[crop]\ncrop_height=9\ncrop_width=5\n[shortcut]\nfrom=0\n", 10, "ratio of heights and widths"),
        ("", 1, "no layer follows"),
        ("[cost]\n", 1, "no layer follows"),
    ],
)
def test_impossible_networks(tmp_path: Path, layers: str, line: int, words: str) -> None:
    with pytest.raises(CfgError, match=words) as caught:
        load(tmp_path, layers)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("net", "words"),
    [("height=9\nwidth=9\n", "no channels="), ("", "no height="), ("height=0\nwidth=1\nchannels=1\n", "at least 1")],
)
def test_input_shape_is_required(tmp_path: Path, net: str, words: str) -> None:
    with pytest.raises(CfgError, match=words):
        load(tmp_path, "[softmax]\n", net=net)


def test_layers_of_darknet_that_are_not_run(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayerError, match=r"a\.cfg:6: \[lstm\]"):
        load(tmp_path, "[softmax]\n[lstm]\noutput=3\n")


def test_an_empty_value_only_of_keys_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    net = "[net]\nheight=8\nwidth=8\nchannels=3\n"
    path.write_text(net + "policy=\nhight= # 3\n[softmax]\n")
    with pytest.warns(CfgWarning) as caught:
        load_network(path)
    assert [str(warning.message) for warning in caught] == [
        f"{path}:5: policy= without a value in [net] is ignored",
        f"{path}:6: unknown key 'hight' in [net] is ignored",
    ]
    for line in ("size=", "size= # two", "padding="):
        path.write_text(net + f"[maxpool]\n{line}\n")
        with pytest.raises(CfgError, match=f"{path}:6: .*has no value"):
            load_network(path)


def test_unknown_keys_warn_once_each(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text("[net]\nheight=4\nwidth=4\nchannels=1\nhight=2\n[convolutional]\nfliters=3\n[softmax]\nsize=3\n")
    with pytest.warns(CfgWarning) as caught:
        load_network(path)
    assert [str(warning.message) for warning in caught] == [
        f"{path}:5: unknown key 'hight' in [net] is ignored",
        f"{path}:7: unknown key 'fliters' in [convolutional] is ignored",
        f"{path}:9: unknown key 'size' in [softmax] is ignored",
    ]


def test_training_keys_are_silent(tmp_path: Path) -> None:
    net = (
        "height=4\nwidth=4\nchannels=1\nbatch=64\nsubdivisions=8\nmomentum=.9\ndecay=5e-4\nangle=7\nhue=.1\n"
        "saturation=.75\nexposure=.75\naspect=.75\nlearning_rate=.1\npolicy=steps\nsteps=1,2\nscales=.1,.1\n"
        "burn_in=10\nmax_batches=5\npower=4\ngamma=.1\nadam=1\nB1=.9\nB2=.9\neps=1\nmax_crop=4\nmin_crop=2\n"
        "time_steps=1\nnotruth=0\nrandom=0\ncenter=0\n"
    )
    assert load(tmp_path, "[convolutional]\nlearning_rate=.1\ndontsave=1\n", net=net).batch == 1


def test_batch_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch 0"):
        load(tmp_path, "[softmax]\n", batch=0)


def test_vgg16() -> None:
    network = load_network(MODELS / "vgg16.cfg")
    convolutions = [layer for layer in network.layers if isinstance(layer, Convolutional)]
    connected = [layer for layer in network.layers if isinstance(layer, Connected)]
    assert network.input == shape(3, 224, 224)
    assert [layer.filters for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert {(layer.window, layer.activation) for layer in convolutions} == {(Window.square(3, padding=1), "relu")}
    assert [layer.weights_shape for layer in connected] == [(4096, 25088), (4096, 4096), (1000, 4096)]
    assert [layer.activation for layer in connected] == ["relu", "relu", "linear"]
    assert isinstance(network.layers[-1], Softmax)
    assert network.outputs == 1000


def test_windows_outside_of_the_image_by_their_places() -> None:
    """The few that are asked tell of all."""
    random = Random(5)
    for _ in range(3000):
        length, size, step, stride = (random.randint(1, 9) for _ in range(4))
        extent = (size - 1) * step + 1
        starts = range(-random.randint(0, 20), random.randint(1, 12), stride)
        windows = ([place for place in range(start, start + extent, step) if 0 <= place < length] for start in starts)
        is_outside = not all(windows)
        assert _has_window_outside(starts, extent=extent, step=step, length=length) == is_outside
