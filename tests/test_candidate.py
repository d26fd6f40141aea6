"""Fast and wrong does not count: what a candidate computes is compared before anything is timed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.candidate import Candidate, bind_case, gives_right_answers, small_operations, verify
from clprune.errors import BuildError, ConfigurationRejected, WrongAnswer
from clprune.kernels.arguments import Case, Sample
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.matrix_operation import ConvMatrixTile
from clprune.kernels.matrix_unit import FRAGMENTS
from clprune.kernels.softmax import SoftmaxKernel, SoftmaxOperation, SoftmaxTile
from clprune.kernels.workload import Workload
from clprune.opencl import Kernel, Session
from clprune.tolerance import FLOAT32_EPSILON, relative_tolerance
from clprune.turns import in_turns
from tests.covering import roomy_device
from tests.tuning.kernels import ODD, OddKernel, OddOperation, OddTile

OPERATION = SoftmaxOperation(count=3, length=7)
TILE = SoftmaxTile(group_n=1)


class Changed(SoftmaxKernel):
    """Softmax with one piece of its source replaced."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def source(self, tile: SoftmaxTile, operation: SoftmaxOperation) -> str:
        right = super().source(tile, operation)
        assert self._old in right
        return right.replace(self._old, self._new)


def case_of(kernel: SoftmaxKernel) -> Case:
    return kernel.case(TILE, OPERATION, kernel.sample(OPERATION, Workload()))


def candidate_of(session: Session, kernel: SoftmaxKernel) -> Candidate:
    return bind_case(session, kernel, TILE, OPERATION, case_of(kernel))


def test_right_answer(device_context: Session) -> None:
    error = verify(device_context, candidate_of(device_context, SoftmaxKernel()))
    assert 0 <= error <= relative_tolerance(7)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("out[i] /= value", "out[i] /= value * 1.0001f", "relative error .* exceeds"),
        ("out[i] /= value", "out[i] = i == 2 ? NAN : out[i] / value", "3 results are not finite"),
        ("out[i] /= value", "out[i] = i == 2 ? INFINITY : out[i] / value", "3 results are not finite"),
        ("out[i] /= value", "out[i] /= value; if (get_global_id(0) == 2) out[7] = 0.0f", "wrote 1 values outside"),
        ("out[i] /= value", "if (i != 3) out[i] /= value", "relative error"),
        ("out[i] = e", "if (i != 3) out[i] = e", "relative error"),
    ],
)
def test_wrong_answers(device_context: Session, old: str, new: str, reason: str) -> None:
    with pytest.raises(WrongAnswer, match=reason):
        verify(device_context, candidate_of(device_context, Changed(old, new)))


def test_source_that_does_not_build(device_context: Session) -> None:
    with pytest.raises(BuildError):
        candidate_of(device_context, Changed("const int length", "const unknown_type length"))


def test_tile_that_the_device_forbids_is_never_built(device_context: Session) -> None:
    kernel, tile = Changed("const int length", "const unknown_type length"), SoftmaxTile(group_n=2**20)
    operation = dataclasses.replace(OPERATION, length=2**20)
    with pytest.raises(ConfigurationRejected, match="larger than the device allows"):
        bind_case(device_context, kernel, tile, operation, case_of(kernel))


def test_limits_of_the_built_kernel(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known only after the build: a kernel that needs many registers allows smaller work-groups than the device."""
    kernel, tile = SoftmaxKernel(), SoftmaxTile(group_n=64)
    operation = dataclasses.replace(OPERATION, length=100)
    real = Session.kernel

    def limited(session: Session, program: object, name: str) -> Kernel:
        return dataclasses.replace(real(session, program, name), work_group_limit=32)

    monkeypatch.setattr(Session, "kernel", limited)
    with pytest.raises(ConfigurationRejected, match="the built kernel allows work-groups of 32, not 64"):
        bind_case(
            device_context, kernel, tile, operation, kernel.case(tile, operation, kernel.sample(operation, Workload()))
        )


def test_problems_of_every_precision() -> None:
    tiles = (ConvMatrixTile(unit="mma", tile_m=32, tiles_n=4), ConvMatrixTile(unit="single", tile_m=16, tiles_n=4))
    for tile in tiles:
        allowed = {precision for unit, precision in FRAGMENTS if unit == tile.unit}
        operations = small_operations(CONV_MATRIX, tile, roomy_device())
        assert {operation.precision for operation in operations} == allowed
        assert len(operations) == max(2, len(allowed))


def test_the_only_problem_is_solved_dense_and_pruned(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    workloads: list[Workload] = []
    real = OddKernel.sample

    def sample(kernel: OddKernel, operation: OddOperation, workload: Workload) -> Sample:
        workloads.append(workload)
        return real(kernel, operation, workload)

    monkeypatch.setattr(OddKernel, "sample", sample)
    monkeypatch.setattr(OddKernel, "sample_operations", lambda kernel: (OddOperation(length=3),))
    assert gives_right_answers(device_context, ODD, OddTile())
    assert [workload.is_dense for workload in workloads] == [True, False]


def test_candidates_are_timed_in_turns(device_context: Session) -> None:
    candidates = [candidate_of(device_context, SoftmaxKernel()) for _ in range(2)]
    times = in_turns([candidate.bound.timed for candidate in candidates], rounds=3)
    assert list(map(len, times)) == [3, 3]
    assert all(0 < seconds < 10 for samples in times for seconds in samples)


def test_tolerance_grows_as_rounding_does() -> None:
    """With the square root of the number of terms: a random walk of roundings."""
    assert relative_tolerance(1) == FLOAT32_EPSILON * 20
    assert relative_tolerance(10_000) == FLOAT32_EPSILON * 416
    assert relative_tolerance(4608) < 1e-4


def test_tolerance_holds_for_float32_sums_in_any_order() -> None:
    rng = np.random.default_rng(5)
    for terms in (1, 9, 576, 4608, 25088):
        a, b = rng.standard_normal((2, terms)).astype(np.float32)
        exact = float(a.astype(np.float64) @ b.astype(np.float64))
        for order in (np.arange(terms), np.argsort(a), rng.permutation(terms)):
            total = np.add.accumulate((a * b)[order], dtype=np.float32)[-1]
            assert abs(total - exact) <= relative_tolerance(terms) * max(abs(exact), np.sqrt(terms))
