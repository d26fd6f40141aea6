"""What is known of weights before they are packed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.conv_operation import conv_operation
from clprune.plan.forms import layer_form, weights_forms
from clprune.plan.offers import offers_for
from clprune.quantization.coding import HalfCoding, LinearCoding
from tests.imaginary import imaginary_device

CPU = imaginary_device(type="cpu", native_vector_width_float=16)
CFG = "[net]\nheight=8\nwidth=8\nchannels=4\n\n[convolutional]\nfilters=16\nsize=3\npad=1\n{more}"


def weights_of(array: np.ndarray) -> LayerWeights:  # type: ignore[type-arg]
    return LayerWeights(weights=array.astype(np.float32), biases=np.zeros(len(array), np.float32))


def test_units_single_weights_and_dense_layers_are_told_apart(network_of: Callable[..., Network]) -> None:
    layer = network_of(CFG.format(more="")).layers[0]
    dense = np.ones((16, 4, 3, 3))
    assert layer_form(layer, weights_of(dense)).workload.key == "dense"
    columns = dense.copy().reshape(16, 36)
    columns[:8, ::2] = 0
    columns[8:, 1::2] = 0
    assert layer_form(layer, weights_of(columns.reshape(16, 4, 3, 3))).workload.key == "kept0.50 unit8x1"
    single = np.zeros((16, 36))
    single[np.arange(16), np.arange(16) * 2] = 1
    assert layer_form(layer, weights_of(single.reshape(16, 4, 3, 3))).workload.key == "kept0.028 unit1x1"


def test_the_unit_that_a_cfg_names_counts(network_of: Callable[..., Network]) -> None:
    more = "prune_method=workgroup\nprune_unit=4x1\nprune_sparsity=0.5\n"
    layer = network_of(CFG.format(more=more)).layers[0]
    single = np.zeros((16, 36))
    single[np.arange(16), np.arange(16) * 2] = 1
    assert layer_form(layer, weights_of(single.reshape(16, 4, 3, 3))).workload.key == "kept0.11 unit4x1"


def test_a_coding_names_the_storage_unless_normalization_will_undo_it(network_of: Callable[..., Network]) -> None:
    half = np.ones((16, 4, 3, 3), np.float16)
    values = LayerWeights(
        weights=half.astype(np.float32), biases=np.zeros(16, np.float32), coding=HalfCoding(values=half)
    )
    network = network_of(CFG.format(more=""))
    assert weights_forms(network, Weights(layers=(values,)))[0].storage == "float16"
    normalized = network_of(CFG.format(more="batch_normalize=1\n")).layers[0]
    assert layer_form(normalized, values).storage == ""


def test_scales_of_activations_offer_integer_convolution(network_of: Callable[..., Network]) -> None:
    codes = np.ones((16, 4, 3, 3), np.int8)
    network = network_of(CFG.format(more=""))
    problem = network.layers[0].problem(1)  # type: ignore[attr-defined]
    for scale, kernels in ((None, ["conv_channels", "conv"]), (0.5, ["conv_int8", "conv", "conv_channels"])):
        coding = LinearCoding(codes=codes, scales=np.ones(16, np.float32), activation_scale=scale)
        values = LayerWeights(weights=coding.decode(), biases=np.zeros(16, np.float32), coding=coding)
        form = layer_form(network.layers[0], values)
        assert form.quantizes_input == (scale is not None)
        operation = conv_operation(problem, storage=form.storage)
        algorithms = Algorithms(names=("direct",))
        offers = offers_for(operation, form, algorithms=algorithms, device=CPU, kernels=built_in_kernels())
        assert [offer.kernel.name for offer in offers] == kernels
