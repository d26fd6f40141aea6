"""What is tried: for each kind of file valid ones, how they are changed, and what a command does with one.

A handler returns a word for what it read, so that inputs that led somewhere new join the corpus. It may raise any
ClpruneError; whatever else it raises is a fault.
"""

from __future__ import annotations

import atexit
import io
import json
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from PIL import Image

from clprune.cli.infer import lines_of_stdin
from clprune.container.load import load_weights
from clprune.container.model import Model
from clprune.container.read import describe_packed
from clprune.container.write import write_packed
from clprune.darknet.fold import fold_network
from clprune.darknet.kinds.base import WeightedLayer
from clprune.darknet.kinds.normalization import Normalization
from clprune.darknet.names import read_names
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.registry import built_in_kinds
from clprune.darknet.values import Weights
from clprune.darknet.weights import write_weights
from clprune.data import Split, load_data
from clprune.errors import LaunchError, UnsupportedLayerError
from clprune.image import RESIZE_MODES, ImageOptions, load_image, read_input
from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.plan.plan import make_plan
from clprune.quantization.coding import LinearCoding
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.state import store_state
from clprune.tiles.store import Store, open_store, open_store_for_lookups
from clprune.tiles.t4 import from_store, into_store, read_t4, write_t4
from tests.container.networks import CFG, CONVOLUTION, changed, odd_network, pruned
from tests.fuzz.mutation import Mutation, mutated_bytes, mutated_cfg, mutated_container, mutated_json
from tests.imaginary import imaginary_device

if TYPE_CHECKING:
    from clprune.opencl import Session

#: A network runs on a device where none of its arrays and no layer's multiplications are more than this.
_MAX_VALUES, _MAX_PRODUCTS = 1 << 16, 1 << 22

_RUNNABLE_CFG = """[net]
batch=1
height=10
width=8
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=6
size=1
groups=2
activation=relu
[upsample]
stride=2
[route]
layers=-1,-4
[avgpool]
[dropout]
probability=.5
[connected]
output=4
activation=linear
[softmax]
groups=1
[cost]
"""
_HEADS_CFG = """[net]
width=8
height=6
channels=3
[convolutional]
filters=14
size=3
stride=2
pad=1
activation=linear
[yolo]
mask=1,0
anchors=4,4,6,8
classes=2
num=2
scale_x_y=1.1
[route]
layers=0
[resize]
height=6
width=5
[convolutional]
filters=7
size=1
activation=linear
[region]
anchors=1,2
classes=2
num=1
softmax=1
"""

_SHORTCUT_CFG = """[net]
width=6
height=6
channels=2
[convolutional]
filters=4
size=3
stride=2
padding=1
activation=mish
[convolutional]
filters=4
size=3
pad=1
activation=linear
prune_method=workgroup
prune_unit=2x1
prune_sparsity=0.5
[shortcut]
from=-2
activation=relu
[crop]
crop_height=2
crop_width=2
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of input. `seeds` writes valid ones into a folder; `handle` reads one.

    Where it `runs`, it uses the device that it may be handed.
    """

    name: str
    suffix: str
    seeds: Callable[[Path], None]
    handle: Callable[[Path, Session | None], str]
    mutate: Mutation = mutated_bytes
    runs: bool = False


def _check_finite(weights: Weights) -> None:
    for layer in weights.layers:
        for name in ("weights", "biases", "scales", "mean", "variance"):
            array = getattr(layer, name, None)
            assert array is None or np.isfinite(array).all(), f"accepted {name} that are not finite"


@cache
def _network() -> Network:
    folder = Path(tempfile.mkdtemp(prefix="clprune-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return odd_network(folder)


@cache
def _container_network() -> Network:
    """The same without the layer that no kernel runs yet."""
    text = re.sub(r"\[local\][^[]*", "", CFG)
    return odd_network(_network().path.parent, text=text, name="container")


# --- cfg ---


#: A GPU and a CPU that have little of everything.
_SMALL_DEVICES = [
    imaginary_device(
        type=kind,
        max_work_group_size=16,
        max_work_item_sizes=(16, 4, 1),
        local_mem_bytes=1024,
        max_alloc_bytes=1 << 16,
        global_mem_bytes=1 << 18,
    )
    for kind in ("gpu", "cpu")
]


def _cfg_seeds(folder: Path) -> None:
    """Networks, and one section of every kind with all of its keys: of a kind that is new as well."""
    (folder / "odd.cfg").write_bytes(_network().path.read_bytes())
    (folder / "runnable.cfg").write_text(_RUNNABLE_CFG)
    (folder / "shortcut.cfg").write_text(_SHORTCUT_CFG)
    for kind in set(built_in_kinds().values()):
        for value in (1, 0):
            options = "".join(f"{key}={value}\n" for key in dict.fromkeys(kind.all_keys().read.split()))
            (folder / f"{kind.names[0]}{value}.cfg").write_text(f"{_SHORTCUT_CFG}[{kind.names[0]}]\n{options}")


def _handle_cfg(path: Path, session: Session | None) -> str:
    network = load_network(path)
    if session is not None and _is_small(network):
        is_right = _run(network, random_weights(network, seed=1), session)
        # darknet's sums of [normalization] may lie near -kappa / alpha, where nothing can be right
        assert is_right or any(isinstance(layer, Normalization) for layer in network.layers), "wrong on the device"
    planned = []
    for device in _SMALL_DEVICES:
        try:
            planned.append(len(make_plan(network, device).steps))
        except (LaunchError, UnsupportedLayerError) as error:
            planned.append(type(error).__name__)
    return " ".join([*(layer.kind for layer in network.layers), *map(str, planned)])


def _is_small(network: Network) -> bool:
    values = [network.input.elements, *(layer.output.elements for layer in network.layers)]
    products = [0]
    for layer in network.layers:
        values += [int(np.prod([float(side) for side in shape])) for shape in layer.arrays.values()]
        columns = layer.columns if isinstance(layer, WeightedLayer) else getattr(layer, "size", 1) ** 2
        products.append(layer.output.elements * columns)
    return max(values) <= _MAX_VALUES and max(products) <= _MAX_PRODUCTS


def _run(network: Network, weights: Weights, session: Session) -> bool:
    """Every layer on the device beside its float64 reference: whether all are right."""
    from clprune.workflow.verify import verify

    return verify(Model(network=network, weights=weights), device=session).is_within


# --- weights, containers ---


def _weights_seeds(folder: Path) -> None:
    network = _network()
    write_weights(folder / "a.weights", network, random_weights(network, seed=1))
    values = (folder / "a.weights").read_bytes()
    (folder / "old.weights").write_bytes(values[:4] + b"\1\0\0\0" + values[8:16] + values[20:])  # a 4-byte counter
    (folder / "page.weights").write_bytes(b"<!DOCTYPE html><html><body>Not found</body></html>\n" * 20)


def _handle_weights(path: Path, session: Session | None) -> str:
    weights = _read(path, _network())
    return f"{weights.major}.{weights.minor}"


def _read(path: Path, network: Network) -> Weights:
    weights = load_weights(path, network)
    _check_finite(weights)
    _check_finite(fold_network(network, weights)[1])
    return weights


def _container_seeds(folder: Path) -> None:
    network = _container_network()
    sparse = np.random.default_rng(1)
    few = random_weights(network, seed=5)
    for layer in network.matrix_layers:
        few = changed(few, layer.index, lambda values: pruned(values, sparse.random(values.weights.shape) < 0.1))
    write_packed(folder / "few.safetensors", network, few)
    coding = LinearCoding(
        codes=np.ones((7, 13, 3, 3), np.int8), scales=np.ones(7, np.float32), activation_scale=0.5
    )  # fmt: skip
    coded = changed(
        random_weights(network, seed=5),
        CONVOLUTION,
        lambda values: replace(values, weights=coding.decode(), coding=coding),
    )
    write_packed(folder / "coded.safetensors", network, coded)


def _handle_container(path: Path, session: Session | None) -> str:
    stored = describe_packed(path)
    for layer in stored:
        assert 0 <= layer.kept_share <= 1, "accepted a share outside 0..1"
        assert layer.kind.isprintable(), "accepted a kind that cannot be printed"
    network = _container_network()
    weights = _read(path, network)
    if session is not None:
        _run(network, weights, session)  # with weights near float32's limit nothing can be right
    return " ".join(f"{layer.kind} {layer.kept_share:.1f}" for layer in stored)


# --- models of other frameworks ---


def _onnx_seeds(folder: Path) -> None:
    from clprune.workflow.export import export

    texts = {"runnable": _RUNNABLE_CFG, "shortcut": _SHORTCUT_CFG, "heads": _HEADS_CFG}
    for name, text in texts.items():
        cfg = folder / f"{name}.cfg"
        cfg.write_text(text)
        network = load_network(cfg)
        export(Model(network=network, weights=random_weights(network, seed=1)), onnx=folder / f"{name}.onnx")
        cfg.unlink()
    (folder / "others.onnx").write_bytes(_other_operators())


def _other_operators() -> bytes:
    """A model of operators that no export writes: codes, a transposed convolution, borders, normalization."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "w"], ["t"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]),
        helper.make_node("InstanceNormalization", ["t", "s", "s"], ["i"], epsilon=1e-3),
        helper.make_node("Pad", ["i", "p"], ["b"], mode="reflect"),
        helper.make_node("AveragePool", ["b"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1),
        helper.make_node("LRN", ["a"], ["l"], size=3),
        helper.make_node("Softmax", ["l"], ["y"], axis=1),
    ]
    values = {
        "step": np.float32(0.1), "zero": np.uint8(0), "w": np.linspace(-1, 1, 96, dtype=np.float32).reshape(3, 2, 4, 4),
        "s": np.float32([1, 2]), "p": np.int64([0, 0, 1, 0, 0, 0, 2, 1]),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, [1, 3, 5, 6]),
                                                            ("y", TensorProto.FLOAT, None))]  # fmt: skip
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return content


def _mutated_onnx(random: Random, data: bytes, corpus: Any) -> bytes:
    """A node, a constant or the input changed, or bytes."""
    if random.randrange(3):
        with suppress(Exception):  # protobuf promises no types of errors: neither for a file nor for text in one
            return _with_changed_parts(random, data, corpus)
    return mutated_bytes(random, data, corpus)


def _with_changed_parts(random: Random, data: bytes, corpus: Any) -> bytes:
    from onnx import ModelProto

    model = ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.input, graph.output, model.opset_import, model.metadata_props)
    lists = [part for part in parts if part]
    for _ in range(random.choice([1, 1, 2, 4])) if graph.node else ():
        item = random.choice(random.choice(lists))
        numbers: list[Any] = [part.ints for part in getattr(item, "attribute", ()) if part.ints]
        numbers += [item.dims] if getattr(item, "dims", None) else []
        match random.randrange(5):
            case 0 if numbers:
                some = random.choice(numbers)
                some[random.randrange(len(some))] = random.choice([0, -1, 1, 2, 7, 255, 1 << 31, 1 << 40, -(1 << 62)])
            case 1 if hasattr(item, "op_type"):
                item.op_type = random.choice(graph.node).op_type
            case 2 if getattr(item, "input", None):
                item.input[random.randrange(len(item.input))] = random.choice(
                    [name for part in graph.node for name in part.output] or [""]
                )
            case 3 if hasattr(item, "version"):
                item.version = random.choice([0, 1, 6, 7, 9, 11, 12, 18, 23, 99, 1 << 40])
            case _:
                changed = mutated_bytes(random, item.SerializeToString(), corpus)
                with suppress(Exception):  # of a part that is none, what could be read stays
                    item.ParseFromString(changed)
    written: bytes = model.SerializeToString()
    return written


def _handle_onnx(path: Path, session: Session | None) -> str:
    """Read, and on a device converted as a whole."""
    from clprune.exchange.codes import with_float_activations
    from clprune.exchange.import_graph import import_graph
    from clprune.exchange.read import read_onnx
    from clprune.workflow.convert import convert, make_model

    if session is not None:
        with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
            return f"{convert(path, out=Path(folder) / 'a', device=session).relative_error < 1e-4}"
    graph = read_onnx(path)
    with_float_activations(graph, path)
    model = make_model(import_graph(graph, path), str(path))
    return " ".join(layer.kind for layer in model.network.layers)


# --- tuning results ---

_KERNEL = kernel_by_name("connected")
_DEVICE = imaginary_device()
_WORKLOAD = Workload(kept_share=0.25, unit_rows=16)
_OFFER = Offer(
    kernel=_KERNEL,
    operation=max(_KERNEL.sample_operations(), key=lambda operation: operation.problem.batch),
    workload=_WORKLOAD,
)


def _fill(store: Store) -> None:
    key = result_key(_DEVICE, _OFFER)
    fast, wrong, *_ = _KERNEL.gpu_tiles
    store.add_device(_DEVICE)
    store.add_measurement(key, fast, time_ms=1.5, build_ms=80.0, runs_ms=(1.6, 1.5), relative_error=1e-7)
    store.add_measurement(key, wrong, time_ms=None, invalidity="correctness")
    store.set_best(key, fast, workload=_WORKLOAD, time_ms=1.4, default_time_ms=2.4)


def _use(store: Store) -> str:
    lookup = Lookup(store, _DEVICE)
    found = lookup(_OFFER)
    time_ms = lookup.time_ms(_OFFER)
    assert time_ms is None or time_ms >= 0, "a time below 0"
    results = from_store(store)
    return f"{found is not None} {len(results.measurements)} {len(results.best)}"


def _t4_seeds(folder: Path) -> None:
    with Store(None) as store:
        _fill(store)
        write_t4(folder / "a.json", from_store(store))
        write_t4(folder / "b.json.gz", from_store(store))
    (folder / "b.json.gz").rename(folder / "b.json")  # told by what it holds


def _handle_t4(path: Path, session: Session | None) -> str:
    results = read_t4(path)
    with Store(None) as store:
        into_store(store, results, path=path)
        return _use(store)


def _database_seeds(folder: Path) -> None:
    with Store(folder / "a.sqlite") as store:
        _fill(store)
    for name in ("a.sqlite-wal", "a.sqlite-shm"):
        assert not (folder / name).exists(), "a closed database is one file"


def _mutated_database(random: Random, data: bytes, corpus: Any) -> bytes:
    """One cell or the schema changed by SQLite itself; or bytes changed."""
    if random.randrange(2):
        return mutated_bytes(random, data, corpus)
    values: list[Any] = [None, 0, -1, 0.5, 1e308, 2**62, "", "\n", "{}", "[1e999]", "x" * 5000, b"\xff\0", "imported"]
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
        path = Path(folder) / "a.sqlite"
        path.write_bytes(data)
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            table = random.choice(tables)
            column = random.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
            statements = [
                f"ALTER TABLE {table} DROP COLUMN {column}",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                f"DROP TABLE {table}",
                f"PRAGMA user_version={random.choice([0, 1, 2, 3, 5, -1, 2**31 - 1])}",
            ]
            if random.randrange(4):
                connection.execute(f"UPDATE OR IGNORE {table} SET {column}=?", (random.choice(values),))
            else:
                connection.execute(random.choice(statements))
            connection.commit()
        return path.read_bytes()


def _handle_database(path: Path, session: Session | None) -> str:
    """Looked at, looked up in, then written to, as `info`, `infer` and `tune` do."""
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
        copy = Path(folder) / "tuning.sqlite"
        copy.write_bytes(path.read_bytes())
        problem = store_state(_DEVICE, path=copy).problem
        with open_store_for_lookups(copy) as store:
            found = _use(store)
        with open_store(copy) as store:
            _fill(store)
            return f"{bool(problem)} {found} {_use(store)}"


# --- pictures ---


def _picture_seeds(folder: Path) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (11, 14, 3), np.uint8)
    colours, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    for suffix in ("png", "jpg", "gif", "bmp", "ppm", "tif", "webp"):
        colours.save(folder / f"a.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(folder / "turned.jpg", exif=exif)
    Image.fromarray(random.random((11, 14), np.float32)).save(folder / "float.tif")
    grey.convert("I;16").save(folder / "deep.png")
    grey.save(folder / "grey.pgm")
    colours.quantize(5).save(folder / "palette.png")
    colours.save(folder / "animated.gif", save_all=True, append_images=[colours.rotate(90)])


def _handle_picture(path: Path, session: Session | None) -> str:
    resize = RESIZE_MODES[path.stat().st_size % len(RESIZE_MODES)]
    image = read_input(path, channels=3, height=9, width=7, options=ImageOptions(resize=resize))
    whole = load_image(path, channels=1, options=ImageOptions(max_pixels=1 << 20))
    for values in (image, whole):
        assert np.isfinite(values).all(), "accepted a picture that is not finite"
        assert values.min() >= 0, "a pixel below 0"
        assert values.max() <= 1 + 1e-6, "a pixel above 1"
    return f"{resize} {whole.shape == (1, 11, 14)}"


# --- lists, names, folders ---


def _list_seeds(folder: Path) -> None:
    (folder / "a.names").write_text("red\ngreen\nblue\n")
    (folder / "utf16.names").write_bytes("red\r\ngrün\r\n".encode("utf-16"))
    (folder / "bom.names").write_bytes(b"\xef\xbb\xbfone \r\ntwo\r\n")
    (folder / "a.data").write_text("classes = 3\nnames = a.names\nbackup = backup/\n")


def _handle_list(path: Path, session: Session | None) -> str:
    """As a list on standard input, and as a file of names."""
    terminal, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    try:
        paths = list(lines_of_stdin())
    finally:
        sys.stdin = terminal
    assert not any("\n" in item or not item for item in paths), "a path of several lines, or an empty one"
    names = read_names(path)
    assert all(name.isprintable() for name in names), "a name that cannot be printed"
    return f"{min(len(paths), 3)} {min(len(names), 3)}"


def _folder_seeds(folder: Path) -> None:
    for name, files in {
        "plain": ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.jpg"],
        "splits": ["train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/1.png", "test/c/2.png", ".git/x.png"],
        "numbers": [f"{number}/{file}.png" for number in range(11) for file in range(5)],
        "odd": ["__MACOSX/a/1.png", "a/._1.png", "a/1.jfif", "a/2.txt", "Train/a/1.png", "images/a/broken.png"],
        "lines": ["train.txt", "val.txt", "labels.csv", "1.png", "2.png"],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(files))


@cache
def _small_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 5), (255, 128, 0)).save(file, "PNG")
    return file.getvalue()


def _handle_folder(path: Path, session: Session | None) -> str:
    """A folder tree of those names, in which what has no suffix of a picture is text."""
    try:
        names = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "no list"
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as name:
        folder = Path(name)
        for item in names if isinstance(names, list) else []:
            _make_file(folder, str(item))
        shapes = []
        for split in get_args(Split):
            data = load_data(f"folder:{folder}", split=split, height=4, width=4)
            assert len(data.images[:3]) == min(len(data.images), 3), "not as many images as asked for"
            assert data.labels.max(initial=0) < len(data.class_names), "a label without a name"
            shapes.append(f"{len(data.class_names)} {len(data.labels)}")
        return " ".join(shapes)


def _make_file(folder: Path, name: str) -> None:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if not parts:
        return
    file = folder.joinpath(*parts)
    with suppress(OSError, ValueError):  # names that no file can have
        file.parent.mkdir(parents=True, exist_ok=True)
        content = (
            b"broken" if "broken" in name else _small_picture() if file.suffix else name.encode("utf-8", "replace")
        )
        file.write_bytes(content)


TARGETS = {
    target.name: target
    for target in (
        Target(name="cfg", suffix=".cfg", seeds=_cfg_seeds, handle=_handle_cfg, mutate=mutated_cfg, runs=True),
        Target(name="weights", suffix=".weights", seeds=_weights_seeds, handle=_handle_weights),
        Target(
            name="containers",
            suffix=".safetensors",
            seeds=_container_seeds,
            handle=_handle_container,
            mutate=mutated_container,
            runs=True,
        ),
        Target(name="onnx", suffix=".onnx", seeds=_onnx_seeds, handle=_handle_onnx, mutate=_mutated_onnx, runs=True),
        Target(name="t4", suffix=".json", seeds=_t4_seeds, handle=_handle_t4, mutate=mutated_json),
        Target(
            name="databases",
            suffix=".sqlite",
            seeds=_database_seeds,
            handle=_handle_database,
            mutate=_mutated_database,
        ),
        Target(name="pictures", suffix=".png", seeds=_picture_seeds, handle=_handle_picture),
        Target(name="lists", suffix=".names", seeds=_list_seeds, handle=_handle_list),
        Target(name="folders", suffix=".json", seeds=_folder_seeds, handle=_handle_folder, mutate=mutated_json),
    )
    if target.name != "onnx" or find_spec("onnxruntime") is not None
}
