"""Windows of all kinds in networks: on the device against float64 and against the module that trains them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.runner import Runner
from clprune.runner.verify import verify_network
from tests.runner.conftest import images

NET = "[net]\nheight=13\nwidth=17\nchannels=3\n"
NETWORKS = {
    "uneven": """
        [convolutional]\nfilters=6\nsize_x=7\npad=1\nactivation=relu
        [convolutional]\nfilters=8\nsize=3\npad=1\ndilation=2\ngroups=2\nbatch_normalize=1\nactivation=leaky
        [convolutional]\nfilters=5\nsize_y=2\nsize_x=3\nstride_x=2\npadding_top=1\npadding_right=2\nactivation=linear
        [maxpool]\nsize=3\nstride=1\nstride_y=2
        [local_avgpool]\nsize_y=2\nsize_x=3\nstride=2\npadding_left=1\ncount_border=1""",
    "blurred": """
        [convolutional]\nfilters=6\nsize=3\npad=1\nstride=2\nantialiasing=1\nbatch_normalize=1\nactivation=mish
        [maxpool]\nsize=2\nstride=2\nantialiasing=2
        [maxpool]\nmaxpool_depth=1\nout_channels=3
        [convolutional]\nfilters=5\nsize=1\nactivation=linear
        [local_avgpool]\nsize=3\nstride=2""",
    "borders": """
        [pad]\ntop=2\nright=-3\nmode=reflect
        [convolutional]\nfilters=12\nsize=3\nbatch_normalize=1\nactivation=linear
        [groupnorm]\ngroups=3
        [pad]\nleft=1\nbottom=4
        [groupnorm]\ngroups=12\nepsilon=0.01
        [pad]\ntop=-1\nleft=3\nmode=edge
        [convolutional]\nfilters=5\nsize=1\nactivation=leaky
        [pad]\ntop=1\nleft=2\nmode=wrap
        [groupnorm]
        [softmax]\nspatial=1\ntemperature=0.5""",
    "local": """
        [convolutional]\nfilters=9\nsize=1\nactivation=leaky
        [normalization]\nsize=4\nalpha=0.1
        [local]\nfilters=5\nsize=3\npad=1\nstride=2\nactivation=leaky
        [lrn]\nfull=1\nalpha=0.1
        [local]\nfilters=3\nsize=2\nactivation=linear""",
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_windows(runner_of: Callable[..., Runner], network_of: Callable[..., Network], layers: str, batch: int) -> None:
    torch = pytest.importorskip("torch")
    from clprune.training.module import load_module

    network = network_of(NET + layers, batch=batch)
    weights, x = random_weights(network, seed=1), images(network, batch)
    with runner_of(network, weights, keep_tensors=True) as runner:
        assert all(error.is_within for error in verify_network(runner, weights, x))
        found = runner(x)
    with torch.no_grad():
        expected = load_module(network, weights, answers=True).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
