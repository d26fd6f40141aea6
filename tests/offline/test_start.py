"""Starting points: kept as predicted, found on devices of the architecture, behind what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clprune.cli import group
from clprune.errors import MissingDependencyError, UsageError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, connected_operation
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.softmax import SOFTMAX
from clprune.kernels.workload import Workload
from clprune.offline import compilers, ranking
from clprune.offline.architectures import architecture_by_name
from clprune.offline.report import Report
from clprune.offline.start import keep, starting_points
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import OFFLINE, result_key
from clprune.tiles.store import Store
from tests.imaginary import imaginary_device
from tests.offline.fakes import NOTHING, FakeCompiler

ARCHITECTURE = architecture_by_name("sm_90")
LAYER = conv_operation(
    ConvProblem.square(batch=1, in_channels=64, in_height=28, in_width=28, out_channels=64, size=3, padding=1)
)
STEPS = (
    Offer(kernel=CONV, operation=LAYER),
    Offer(kernel=CONV, operation=LAYER),
    Offer(kernel=CONV, operation=LAYER, workload=Workload(kept_share=0.25)),
    Offer(kernel=SOFTMAX, operation=SOFTMAX.sample_operations()[0]),
    Offer(
        kernel=CONNECTED,
        operation=connected_operation(ConnectedProblem(batch=1, inputs=512, outputs=1000)),
        workload=Workload(),
    ),
)
#: A real card of that architecture, as a driver would describe it.
CARD = imaginary_device(
    name="Some Card", vendor="NVIDIA Corporation", architecture="sm_90", max_work_group_size=1024,
    max_work_item_sizes=(1024, 1024, 64), local_mem_bytes=49152,
)  # fmt: skip
#: Its kernel has a small space.
CONNECTED_CFG = "[net]\nheight=8\nwidth=8\nchannels=8\n[connected]\noutput=256\nactivation=relu\n"
CFG = "[net]\nheight=28\nwidth=28\nchannels=3\n[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=relu\n"


def test_one_point_for_each_different_problem_with_weights() -> None:
    calls = []
    points = starting_points(FakeCompiler(ARCHITECTURE), STEPS, progress=lambda *call: calls.append(call))
    assert [point.key.workload for point in points] == ["dense", "kept0.25 unit8x1", "dense"]
    assert [call[:2] for call in calls] == [(0, 3), (1, 3), (2, 3)]
    for point in points:
        assert point.speed_up is not None
        assert point.speed_up >= 1


def test_default_that_spills_has_no_estimate() -> None:
    compiler = FakeCompiler(ARCHITECTURE, spilling={CONV.default_tile(LAYER, CARD)})
    point = starting_points(compiler, STEPS[:1])[0]
    assert (point.default, point.speed_up) == (None, None)


def test_look_up_on_a_card_of_the_architecture() -> None:
    store = Store(None)
    points = starting_points(FakeCompiler(ARCHITECTURE), STEPS[:3])
    keep(store, ARCHITECTURE, points)
    keep(store, ARCHITECTURE, points)
    kept = store.all_best(kernel="conv")
    assert [(best.origin, best.time_ms, best.default_time_ms) for best in kept] == [(OFFLINE, None, None)] * 2
    assert Lookup(store, CARD)(Offer(kernel=CONV, operation=LAYER)) == (points[0].best.tile, "offline, sm_90")
    other = imaginary_device(vendor="NVIDIA Corporation", architecture="sm_80")
    assert Lookup(store, other)(Offer(kernel=CONV, operation=LAYER)) is None


def test_measured_tiles_come_first() -> None:
    store = Store(None)
    keep(store, ARCHITECTURE, starting_points(FakeCompiler(ARCHITECTURE), STEPS[:1]))
    store.add_device(CARD)
    tile = CONV.gpu_tiles[1]
    key = result_key(CARD, Offer(kernel=CONV, operation=LAYER))
    store.set_best(key, tile, workload=Workload(), time_ms=1.0, default_time_ms=2.0)
    assert Lookup(store, CARD)(Offer(kernel=CONV, operation=LAYER)) == (tile, "tuned")


def test_command_without_compilers_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "find_toolchain", lambda: NOTHING)
    (tmp_path / "tiny.cfg").write_text(CFG)
    result = CliRunner().invoke(group, ["tune", str(tmp_path / "tiny.cfg"), "--offline", "sm_90"])
    assert isinstance(result.exception, MissingDependencyError)
    assert "apt-get install clang-15" in str(result.exception)


def test_command_refuses_a_device_and_an_unknown_architecture(tmp_path: Path) -> None:
    (tmp_path / "tiny.cfg").write_text(CFG)
    for options, message in (
        (["--offline", "sm_91"], "expected one of sm_70"),
        (["--offline", "sm_90", "--device", "0"], "leave out --device"),
    ):
        result = CliRunner().invoke(group, ["tune", str(tmp_path / "tiny.cfg"), *options])
        assert isinstance(result.exception, UsageError)
        assert message in str(result.exception)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sm_80", "gfx90a"])
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    missing = compilers.find_toolchain().missing(architecture_by_name(name))
    if missing:
        pytest.skip(f"cannot compile for {name} without {missing}")
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(ranking, "compile_kernel", compiled_once(ranking.compile_kernel))
    (tmp_path / "tiny.cfg").write_text(CONNECTED_CFG)
    result = CliRunner().invoke(group, ["tune", str(tmp_path / "tiny.cfg"), "--offline", name, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["offline"], found["database"]) == (name, str(tmp_path / "tuning.sqlite"))
    assert [problem["kernel"] for problem in found["problems"]] == ["connected"]
    assert 0 < found["problems"][0]["occupancy"] <= 1
    text = CliRunner().invoke(group, ["tune", str(tmp_path / "tiny.cfg"), "--offline", name])
    assert f"1 starting points for {name}" in text.stdout


def compiled_once(compile_kernel: Callable[..., Report]) -> Callable[..., Report]:
    """The same for sources that came before: a second command compiles nothing again."""
    reports: dict[str, Report] = {}

    def compiled(*toolchain: Any, source: str, **options: Any) -> Report:
        if source not in reports:
            reports[source] = compile_kernel(*toolchain, source=source, **options)
        return reports[source]

    return compiled
