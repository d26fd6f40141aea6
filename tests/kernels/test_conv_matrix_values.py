"""Convolution by matrix instructions of values at the ends of what factors hold, on a device that emulates them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from clprune.candidate import bind_case, verify
from clprune.errors import UsageError
from clprune.geometry import ConvProblem
from clprune.kernels.arguments import Sample
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.matrix_operation import ConvMatrixTile, matrix_operation
from clprune.kernels.matrix_unit import SINGLE
from clprune.kernels.rounding import encoded, rounded
from clprune.kernels.workload import Workload
from clprune.opencl import Session, open_device
from clprune.precision import BFLOAT16, FLOAT16, PRECISIONS, TF32

#: 16 channels of 3x3: whole steps of columns, so that no list is filled up with what would make NaN of infinities.
OPERATION = conv_operation(
    ConvProblem.square(batch=1, in_channels=16, in_height=5, in_width=7, out_channels=17, size=3, padding=1)
)
LARGEST = float(np.finfo(np.float32).max)
#: Bits of a NaN whose upper half alone would be infinity.
NAN_IN_LOW_BITS = np.uint32(0xFF800001)

each_tile = pytest.mark.parametrize(
    "tile",
    [
        ConvMatrixTile(unit=SINGLE, tile_m=16, tiles_n=2),
        ConvMatrixTile(unit="mma", tile_m=16, tiles_n=2),
        ConvMatrixTile(unit="mma", tile_m=16, tiles_n=2, rounding="before", bundle=4),
        ConvMatrixTile(unit="wmma", tile_m=16, tiles_n=2, rounding="before", bundle=8),
    ],
    ids=lambda tile: f"{tile.unit}-{tile.rounding}",
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


def sample_of(precision: str, *, inputs: float = 1.0, weights: float = 1.0) -> Sample:
    """Normal values, scaled in float64."""
    sample = CONV_MATRIX.sample(matrix_operation(OPERATION, precision=precision), Workload(seed=7))
    scales = {"x": inputs, "matrix": weights}
    scaled = {name: sample.inputs[name].astype(np.float64) * scale for name, scale in scales.items()}
    return changed(sample, precision, scaled)


def changed(sample: Sample, precision: str, values: dict[str, np.ndarray]) -> Sample:
    """The sample with other values and the answer that follows."""
    operation = matrix_operation(OPERATION, precision=precision)
    inputs = {**sample.inputs, **{name: value.astype(np.float32) for name, value in values.items()}}
    weights = CONV_MATRIX.sample_weights(operation, inputs)
    with np.errstate(invalid="ignore"):
        return Sample(inputs=inputs, answer=CONV_MATRIX.reference(operation, [inputs["x"]], weights))


def computed(session: Session, tile: ConvMatrixTile, precision: str, sample: Sample) -> np.ndarray:
    """What the device answers, beside the reference, at the places of results."""
    operation = matrix_operation(OPERATION, precision=precision)
    candidate = bind_case(session, CONV_MATRIX, tile, operation, CONV_MATRIX.case(tile, operation, sample))
    candidate.bound.enqueue()
    ((buffer, expected),) = candidate.outputs
    got = session.read(buffer, np.float32, expected.initial.shape)
    return np.stack([got, expected.values.astype(np.float32)])[:, expected.written]


@each_tile
@pytest.mark.parametrize(("inputs", "weights"), [(2.0**120, 2.0**-118), (2.0**-120, 2.0**118), (1e-40, 1e36)])
def test_bfloat16_reaches_as_far_as_float32(
    session: Session, tile: ConvMatrixTile, inputs: float, weights: float
) -> None:
    """The last: inputs below the smallest normal value, which keep fewer bits in bfloat16 than in float32."""
    if not session.info.keeps_subnormals and inputs < 1e-38:
        pytest.skip("the device may take subnormal values for zero")
    operation = matrix_operation(OPERATION, precision=BFLOAT16)
    if CONV_MATRIX.rejection(tile, operation, session.info) is None:
        case = CONV_MATRIX.case(tile, operation, sample_of(BFLOAT16, inputs=inputs, weights=weights))
        verify(session, bind_case(session, CONV_MATRIX, tile, operation, case))


@each_tile
@pytest.mark.parametrize("precision", PRECISIONS)
def test_values_that_are_not_finite_stay(session: Session, tile: ConvMatrixTile, precision: str) -> None:
    """Infinities of both signs, what rounding makes infinite, and NaN, each where no window sees another."""
    if CONV_MATRIX.rejection(tile, matrix_operation(OPERATION, precision=precision), session.info) is not None:
        pytest.skip("the unit has no such precision")
    sample = sample_of(precision)
    x = sample.inputs["x"].copy()
    x[0, 3, 0, 0], x[0, 4, 0, 6], x[0, 5, 4, 6] = np.inf, -np.inf, LARGEST
    x.view(np.uint32)[0, 6, 4, 0] = NAN_IN_LOW_BITS
    got, wanted = computed(session, tile, precision, changed(sample, precision, {"x": x}))
    largest = LARGEST if precision == "float32" else np.inf
    assert np.isnan(wanted).any()
    assert np.isposinf(wanted).any()
    assert np.isneginf(wanted).any()
    assert (np.abs(wanted[np.isfinite(wanted)]) > 1e30).any() == (largest != np.inf)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_rounding_to_bfloat16() -> None:
    """By hand: halves to even, subnormals by their bits as well, the largest values to infinity; NaN stays NaN."""
    step = 2.0**-7
    values = [1 + step / 2, 1 + 3 * step / 2, -1 - step / 2 - 2**-20, 2.0**-134, 3 * 2.0**-134, 2.0**-149, -np.inf]
    wanted = [1.0, 1 + 2 * step, -1 - step, 0.0, 2.0**-132, 0.0, -np.inf]
    assert rounded(np.array(values, np.float64), BFLOAT16).tolist() == wanted
    assert rounded(np.array([LARGEST, -LARGEST, 3.38e38], np.float64), BFLOAT16)[:2].tolist() == [np.inf, -np.inf]
    assert np.isfinite(rounded(np.array([3.38e38]), BFLOAT16)).all()
    assert np.isnan(rounded(NAN_IN_LOW_BITS.reshape(1).view(np.float32), BFLOAT16)).all()
    assert rounded(np.array([1e-40]), FLOAT16).tolist() == [0.0]


def test_bits_of_rounded_values() -> None:
    values = np.array([1.0, -2.0, 0.0], np.float32)
    assert encoded(values, BFLOAT16).tolist() == [0x3F80, 0xC000, 0]
    assert encoded(values, FLOAT16).view(np.uint16).tolist() == [0x3C00, 0xC000, 0]
    assert encoded(values, TF32).dtype == np.float32


@pytest.mark.parametrize(("precision", "value"), [(FLOAT16, 1e5), (BFLOAT16, LARGEST), (TF32, LARGEST)])
def test_weights_that_rounding_makes_infinite_are_refused(precision: str, value: float) -> None:
    operation = matrix_operation(OPERATION, precision=precision)
    sample = sample_of(precision)
    matrix = sample.inputs["matrix"].copy()
    matrix[0, 0] = -value
    weights = CONV_MATRIX.sample_weights(operation, {**sample.inputs, "matrix": matrix})
    with pytest.raises(UsageError, match=f"a weight of magnitude .* does not fit {precision}"):
        CONV_MATRIX.pack(ConvMatrixTile(unit=SINGLE, tile_m=16, tiles_n=2), operation, weights=weights)
