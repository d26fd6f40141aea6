"""Networks as ONNX files and as PyTorch modules: ONNX Runtime and torch compute what the float64 reference does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
# what follows can be used only where onnx is

import clprune
from clprune.container.load import default_weights, load_weights
from clprune.container.model import Model
from clprune.darknet.activations import ACTIVATIONS
from clprune.darknet.fold import fold_network
from clprune.darknet.network import load_network
from clprune.darknet.quantize import QuantizeSettings, quantize_network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.darknet.values import LayerWeights
from clprune.detection.options import DetectionOptions, Dialect
from clprune.errors import ExchangeError, UnsupportedLayerError
from clprune.exchange.runtime import run_onnx
from clprune.resources import models_folder
from clprune.runner.reference import reference_answers
from clprune.winograd.transforms import transform_filters
from clprune.workflow.export import ExportResult
from tests.random_networks import random_network, remove_units
from tests.runner.test_runner import JOINS
from tests.runner.test_windows import NETWORKS as WINDOW_NETWORKS
from tools.darknet.network import read_network, well_conditioned

#: Where Debian's package has them.
DARKNET = Path(os.environ.get("DARKNET_CFG", "/usr/share/darknet/cfg"))
NET = "[net]\nheight=11\nwidth=14\nchannels=3\n"
WIDE = NET.replace("11", "12").replace("14", "16")
CONVOLUTION = "[convolutional]\nfilters={filters}\nsize=3\nstride={stride}\npad=1\nactivation={activation}\n"


def convolution(filters: int = 6, stride: int = 1, activation: str = "leaky", **options: object) -> str:
    text = CONVOLUTION.format(filters=filters, stride=stride, activation=activation)
    return text + "".join(f"{key}={value}\n" for key, value in options.items())


SMALL = (
    NET + convolution(8, batch_normalize=1) + convolution(12) + "[connected]\noutput=9\nactivation=relu\n[softmax]\n"
)


@pytest.fixture
def model_of(tmp_path: Path) -> Callable[[str], Model]:
    """A model of a cfg's text with random weights."""

    def make(text: str) -> Model:
        path = tmp_path / "network.cfg"
        path.write_text(text)
        network = load_network(path)
        return Model(network=network, weights=random_weights(network, seed=1))

    return make


ModelOf = Callable[[str], Model]


def check(model: Model, folder: Path, *, tolerance: float = 1e-5) -> ExportResult:
    """Export for any batch; both runtimes must agree with the reference."""
    result = clprune.export(model, onnx=folder / "model.onnx", batch="dynamic")
    assert result.relative_error < tolerance
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    x = random_images(replace(model.network, batch=2), seed=7)
    with torch.no_grad():
        found = clprune.to_torch(model).outputs(torch.from_numpy(x))
    for got, expected in zip(found, reference_answers(model.network, model.weights, x), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    return result


@pytest.mark.parametrize("layers", WINDOW_NETWORKS.values(), ids=WINDOW_NETWORKS)
def test_windows(model_of: ModelOf, tmp_path: Path, layers: str) -> None:
    check(model_of(NET + layers), tmp_path)


def test_joins(model_of: ModelOf, tmp_path: Path) -> None:
    """Routes of groups, sums of three with stored weights, other orders of values."""
    check(model_of(JOINS), tmp_path)


@pytest.mark.parametrize(("key", "dialect"), [("binary", "alexeyab"), ("xnor", "alexeyab"), ("xnor", "pjreddie")])
def test_binary_weights(key: str, dialect: str, model_of: ModelOf, tmp_path: Path) -> None:
    layers = convolution(6, batch_normalize=1) + convolution(5, activation="relu", **{key: 1})
    check(model_of(f"{NET}dialect={dialect}\n{layers}"), tmp_path)


def test_shared_weights(model_of: ModelOf, tmp_path: Path) -> None:
    text = NET.replace("channels=3", "channels=6") + convolution(6) + convolution(6, share_index=0)
    assert clprune.export(model_of(text), onnx=tmp_path / "model.onnx").relative_error < 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    network, weights = random_network(tmp_path, seed)
    check(Model(network=network, weights=weights), tmp_path)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str, model_of: ModelOf, tmp_path: Path) -> None:
    """Of values from about -8 to 8."""
    model = model_of(NET + convolution(activation="linear") + f"[activation]\nactivation={activation}\n")
    values = model.weights.layers[0]
    assert values is not None
    wide = replace(model.weights, layers=(replace(values, weights=values.weights * 6), None))
    check(replace(model, weights=wide), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        convolution(6) + convolution(4, stride=2) + "[shortcut]\nfrom=0\nalpha=0.5\nbeta=2\nactivation=relu\n",
        convolution(4, stride=2) + "[upsample]\nstride=2\n" + convolution(6) + "[shortcut]\nfrom=0\nalpha=0.5\n",
        convolution(6) + "[softmax]\ngroups=4\ntemperature=3\n" + convolution(5),
        "[avgpool]\n[connected]\noutput=4\nactivation=linear\n[upsample]\nstride=3\n",
        "[connected]\noutput=4\nbatch_normalize=1\nactivation=linear\n[route]\nlayers=0,-1\n",
    ],
    ids=["shortcut to a smaller plane", "shortcut to a larger plane", "softmax within", "vector to plane", "vectors"],
)
def test_shapes(text: str, model_of: ModelOf, tmp_path: Path) -> None:
    check(model_of(NET.replace("11", "12") + text), tmp_path)


def head(name: str, channels: int, *, activation: str = "linear", **options: object) -> str:
    text = f"[convolutional]\nfilters={channels}\nsize=1\nactivation={activation}\n[{name}]\n"
    return text + "".join(f"{key}={value}\n" for key, value in options.items())


ANCHORS = "1,2,3,4,5,6,7,8"
POOL = "[maxpool]\nsize=2\nstride={stride}\n"
#: The structure of yolov3-tiny: a pool of stride 1, and two heads, the second behind a route to an early layer.
TINY_YOLO = (
    convolution(8, batch_normalize=1)
    + POOL.format(stride=2)
    + convolution(12, batch_normalize=1)
    + POOL.format(stride=2)
    + convolution(9)
    + POOL.format(stride=1)
    + head("yolo", 14, num=4, mask="2,3", classes=2, scale_x_y=1.1, anchors=ANCHORS)
    + "[route]\nlayers=-4\n[upsample]\nstride=2\n[route]\nlayers=-1,2\n"
    + head("yolo", 14, activation="logistic", num=4, mask="0,1", classes=2, new_coords=1, scale_x_y=2, anchors=ANCHORS)
)
DETECTION = "[connected]\noutput=52\nactivation=linear\n[detection]\nclasses=3\nnum=2\ncoords=4\nside=2\nsoftmax=1\n"
TREE = "".join(f"class{number} {parent}\n" for number, parent in enumerate((-1, -1, 0, 0, 1)))


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        (TINY_YOLO, 2),
        (head("Gaussian_yolo", 24, num=2, classes=3, scale_x_y=1.2, anchors="1,2,3,4"), 1),
        (head("region", 16, num=2, classes=3, softmax=1, anchors="1,2,3,4"), 1),
        (head("region", 20, num=2, classes=5, tree="tree", anchors="1,2,3,4"), 1),
        ("[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\ntree=tree\ntemperature=2\n", 1),
        (DETECTION, 1),
    ],
    ids=["yolo", "Gaussian_yolo", "region", "region of a tree", "softmax of a tree", "detection"],
)
def test_heads(text: str, outputs: int, model_of: ModelOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").write_text(TREE)
    monkeypatch.chdir(tmp_path)
    result = check(model_of(WIDE + text), tmp_path)
    assert len(result.outputs) == outputs


def narrow(filters: int) -> str:
    """As many as a quarter where they are channels, and no classes or boxes."""
    return str(filters // 4 if filters % 32 == 0 else filters)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov4-tiny", "resnet50", "darknet53", "yolov2"])
def test_networks_of_darknet(name: str, tmp_path: Path) -> None:
    """Their layers with a quarter of the channels."""
    path, cfg = DARKNET / f"{name}.cfg", tmp_path / f"{name}.cfg"
    if not path.exists():
        pytest.skip(f"{path} is not there: install darknet's cfgs, or name their folder by DARKNET_CFG")
    text = path.read_text(encoding="utf-8", errors="replace")
    cfg.write_text(re.sub(r"(?<=filters=)\d+", lambda match: narrow(int(match[0])), text), encoding="utf-8")
    (tmp_path / "smaller").mkdir()
    network = read_network(cfg, side=64, work=tmp_path / "smaller")
    check(Model(network=network, weights=well_conditioned(network, seed=0)), tmp_path)


@pytest.mark.parametrize(
    "stem", ["vgg16-digits", "vgg16-digits-pruned75", pytest.param("vgg16", marks=pytest.mark.slow)]
)
def test_shipped_models(stem: str, tmp_path: Path) -> None:
    network = load_network(models_folder() / f"{stem}.cfg")
    is_trained = default_weights(network.path).exists()
    if not is_trained:  # the same layers with fewer values: 138 million weights else
        cfg = tmp_path / network.path.name
        cfg.write_text(network.path.read_text().replace("=4096", "=256").replace("=512", "=64").replace("=224", "=32"))
        network = load_network(cfg)
    weights = load_weights(None, network) if is_trained else random_weights(network, seed=0)
    check(Model(network=network, weights=weights), tmp_path)


@pytest.mark.parametrize("tile", [2, 4])
def test_weights_of_the_winograd_domain(tile: int, model_of: ModelOf, tmp_path: Path) -> None:
    """With three quarters removed there, which is no 3x3 filter's transform."""
    model = model_of(NET + convolution(8, batch_normalize=1) + convolution(5, padding=0).replace("pad=1\n", ""))
    layers: list[LayerWeights | None] = []
    for values in model.weights.layers:
        assert values is not None
        u = transform_filters(values.weights, tile)
        u *= np.random.default_rng(0).random(u.shape) < 0.25
        layers.append(replace(values, weights=u.astype(np.float32), winograd=tile))
    check(replace(model, weights=replace(model.weights, layers=tuple(layers))), tmp_path)


@pytest.mark.parametrize(
    ("settings", "operator"),
    [
        (QuantizeSettings(scheme="linear", bits=8), "DequantizeLinear"),
        (QuantizeSettings(scheme="codebook", bits=4), "Gather"),
        (QuantizeSettings(scheme="half", bits=16), "Cast"),
    ],
    ids=lambda value: getattr(value, "scheme", ""),
)
@pytest.mark.parametrize("groups", [1, 2])
def test_quantized(settings: QuantizeSettings, operator: str, groups: int, model_of: ModelOf, tmp_path: Path) -> None:
    """Pruned before; codes stay codes in the file."""
    import onnx

    model = model_of(SMALL.replace("filters=12\n", f"filters=12\ngroups={groups}\n"))
    network, weights = fold_network(model.network, model.weights)
    coded = quantize_network(network, remove_units(network, weights, seed=0, share=0.5), settings)
    check(Model(network=network, weights=coded), tmp_path)
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    assert sum(node.op_type == operator for node in nodes) == 3


@pytest.mark.parametrize("groups", [1, 2])
def test_quantized_inputs(groups: int, model_of: ModelOf, tmp_path: Path) -> None:
    """Scales that are powers of two, with which no input lies between two codes and none is rounded on the way."""
    model = model_of(SMALL.replace("filters=12\n", f"filters=12\ngroups={groups}\n"))
    network, weights = fold_network(model.network, model.weights)
    scales = {0: 2.0**-7, 1: 2.0**-6, 2: 2.0**-6}
    coded = quantize_network(network, weights, QuantizeSettings(scheme="linear", bits=8), activation_scales=scales)
    check(Model(network=network, weights=coded), tmp_path, tolerance=1e-2)


def test_the_file_says_what_it_takes_and_gives(model_of: ModelOf, tmp_path: Path) -> None:
    import onnx

    names = tmp_path / "network.names"
    names.write_text("".join(f"class {number}\n" for number in range(9)))
    result = clprune.export(model_of(SMALL), onnx=tmp_path / "model.onnx", batch="dynamic")
    assert result.outputs == {"softmax_3": (9,)}
    model = onnx.load(result.path)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["input"] == "RGB, 0 to 1, [N, C, H, W]"
    assert json.loads(properties["names"]) == [f"class {number}" for number in range(9)]
    assert (model.graph.input[0].name, model.opset_import[0].version) == ("images", result.opset)
    sides = model.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 3, 11, 14]
    assert {array.name for array in model.graph.initializer} >= {"convolutional_0.weights", "convolutional_0.variance"}


def test_a_file_that_computes_something_else_is_not_kept(
    model_of: ModelOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.workflow.export.TOLERANCE", 1e-12)
    path = tmp_path / "model.onnx"
    path.write_text("the one before")
    with pytest.raises(ExchangeError, match="ONNX Runtime's answer lies"):
        clprune.export(model_of(SMALL), onnx=path)
    assert path.read_text() == "the one before"


def test_a_module_can_be_trained(model_of: ModelOf) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    module = clprune.to_torch(model_of(SMALL)).train()
    images = torch.rand(4, 3, 11, 14)
    before = {name: values.clone() for name, values in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    torch.nn.functional.nll_loss(module(images).log(), torch.arange(4)).backward()
    optimizer.step()
    assert all(not torch.equal(values, before[name]) for name, values in module.named_parameters())


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (TINY_YOLO, "alexeyab"),
        (TINY_YOLO.replace("[yolo]", "[yolo]\nnms_kind=greedynms"), "pjreddie"),
        (head("Gaussian_yolo", 24, num=2, classes=3, yolo_point="left_top", anchors="4,4,6,6"), "alexeyab"),
        (head("region", 16, num=2, classes=3, softmax=1, anchors="1,2,3,4"), "alexeyab"),
        (
            "[connected]\noutput=52\nactivation=logistic\n[detection]\nclasses=3\nnum=2\ncoords=4\nside=2\nsqrt=1\n",
            "pjreddie",
        ),
    ],
    ids=["yolo", "nms_kind of another dialect", "Gaussian_yolo", "region", "detection"],
)
def test_boxes(text: str, dialect: Dialect, model_of: ModelOf, tmp_path: Path) -> None:
    """`export` compares them with those of `clprune detect`."""
    options = DetectionOptions(threshold=0.1, nms=0.3, dialect=dialect)
    model = model_of(WIDE + text)
    clprune.export(model, onnx=tmp_path / "model.onnx", batch="dynamic", boxes=options)
    x = random_images(replace(model.network, batch=3), seed=5)
    found = run_onnx((tmp_path / "model.onnx").read_bytes(), x)
    count = len(found["boxes"])
    assert count > 5
    assert {len(found[name]) for name in ("confidences", "class_indices", "image_indices")} == {count}
    assert set(found["image_indices"]) == {0, 1, 2}
    assert found["confidences"].min() > 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (convolution(4), "describes no boxes: expected a detector"),
        (TINY_YOLO.replace("[yolo]", "[yolo]\nnms_kind=diounms"), r"suppresses boxes by DIoU \(nms_kind=diounms\)"),
    ],
)
def test_boxes_that_cannot_be(text: str, message: str, model_of: ModelOf, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        clprune.export(model_of(WIDE + text), onnx=tmp_path / "m.onnx", boxes=DetectionOptions())
    assert not (tmp_path / "m.onnx").exists()
