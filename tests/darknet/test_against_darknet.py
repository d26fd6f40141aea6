"""The original darknet, where it is installed (Debian: `apt install darknet`), computes the same."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.darknet.weights import write_weights
from clprune.image import FloatArray, preprocess, resize_bilinear
from clprune.runner.reference import reference_answers

LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
FORKS_ONLY = {"swish", "mish", "relu6", "hard_mish", "hard_sigmoid", "hard_swish", "gelu_erf"}


class CImage(ctypes.Structure):
    """`image` in darknet.h."""

    _fields_ = (
        ("w", ctypes.c_int),
        ("h", ctypes.c_int),
        ("c", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_float)),
    )


@pytest.fixture(scope="module")
def darknet() -> ctypes.CDLL:
    if not LIBRARY.exists():
        pytest.skip(f"the original darknet is not installed: no {LIBRARY}")
    library = ctypes.CDLL(str(LIBRARY))
    # Built with -Ofast: loading it makes this process take subnormal numbers for zero. Back to FE_DFL_ENV.
    ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))
    library.activate.restype = ctypes.c_float
    library.activate.argtypes = [ctypes.c_float, ctypes.c_int]
    for name in ("resize_image", "letterbox_image"):
        function = getattr(library, name)
        function.restype = CImage
        function.argtypes = [CImage, ctypes.c_int, ctypes.c_int]
    return library


def call(library: ctypes.CDLL, name: str, image: FloatArray, *, height: int, width: int) -> NDArray[np.float32]:
    channels, rows, columns = image.shape
    source = CImage(columns, rows, channels, image.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    result = getattr(library, name)(source, width, height)
    return np.array(np.ctypeslib.as_array(result.data, (channels, height, width)), dtype=np.float32)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - FORKS_ONLY))
def test_activations(darknet: ctypes.CDLL, name: str) -> None:
    number = darknet.get_activation(name.encode())
    x = np.linspace(-9, 9, 1441, dtype=np.float32)
    theirs = [darknet.activate(float(value), number) for value in x]
    np.testing.assert_allclose(activate(name, x), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(31, 32), (33, 57), (64, 31), (37, 89), (45, 45)])
def test_resize(darknet: ctypes.CDLL, size: tuple[int, int]) -> None:
    height, width = size
    image = np.random.default_rng(0).random((3, 47, 61), dtype=np.float32)
    theirs = call(darknet, "resize_image", image, height=height, width=width)
    # Darknet's rounding may lose the last row; see resize_bilinear.
    ours = resize_bilinear(image, height=height, width=width)
    np.testing.assert_allclose(ours[:, :-1], theirs[:, :-1], atol=2e-5)


@pytest.mark.parametrize("size", [(31, 31), (64, 40), (40, 64)])
def test_letterbox(darknet: ctypes.CDLL, size: tuple[int, int]) -> None:
    height, width = size
    image = np.random.default_rng(0).random((3, 47, 61), dtype=np.float32)
    theirs = call(darknet, "letterbox_image", image, height=height, width=width)
    ours = preprocess(image, height=height, width=width)
    wrong_rows = np.unique(np.nonzero(np.abs(ours - theirs) > 2e-5)[1])
    assert len(wrong_rows) <= 1


#: A convolution comes first: [local] computes in the memory that only convolutions ask for.
NETWORKS = {
    "local": "[local]\nfilters=5\nsize=3\npad=1\nstride=2\nactivation=leaky\n[local]\nsize=2\nactivation=tanh\n",
    "xnor": "[conv]\nfilters=5\nsize=3\npad=1\nxnor=1\nactivation=leaky\n",
    "normalization": "[lrn]\nalpha=.1\n[lrn]\nsize=4\nalpha=.1\n[lrn]\nsize=7\n",
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_networks(darknet: ctypes.CDLL, tmp_path: Path, layers: str) -> None:
    cfg, file = tmp_path / "a.cfg", tmp_path / "a.weights"
    cfg.write_text(
        f"[net]\nheight=7\nwidth=9\nchannels=4\n[conv]\nfilters=9\nsize=3\npad=1\nactivation=linear\n{layers}"
    )
    network = load_network(cfg, dialect="pjreddie")
    weights, x = random_weights(network, seed=1), random_images(network, seed=2)
    write_weights(file, network, weights)
    darknet.load_network.restype = ctypes.c_void_p
    darknet.network_predict.restype = ctypes.POINTER(ctypes.c_float)
    theirs = darknet.load_network(str(cfg).encode(), str(file).encode(), 0)
    image = np.ascontiguousarray(x[0])
    answer = darknet.network_predict(ctypes.c_void_p(theirs), image.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    (expected,) = reference_answers(network, weights, x)
    found = np.ctypeslib.as_array(answer, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
