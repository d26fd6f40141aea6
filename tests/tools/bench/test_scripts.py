"""Options, planning and goals of the benchmark scripts; nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clprune.errors import NoDeviceError, UsageError
from clprune.turns import Series
from tests.imaginary import imaginary_device
from tools.bench.contest import Row

GPU = imaginary_device(name="NVIDIA H200", platform_name="NVIDIA CUDA", type="gpu")
OTHER_GPU = imaginary_device(name="gfx90a", platform_name="AMD", type="gpu", platform_index=1)
CPU = imaginary_device(name="CPU", type="cpu")


def row(label: str, engine: str, best_ms: float) -> Row:
    series = Series(samples_ms=(best_ms, best_ms * 2))
    return Row(label=label, engine=engine, description={}, series=series, relative_error=0.0, tolerance=1e-3)


def figures_of(
    rows: Sequence[Row], model: str, *, batch: int = 1, cpu_class: str = "AVX2"
) -> dict[str, tuple[float, float | None, bool | None]]:
    from tools.bench.peers.goals import goals_of
    from tools.bench.peers.section import goal_figures

    figures = goal_figures(rows, goals_of(model, batch, cpu_class))
    return {figure.name: (figure.best, figure.goal, figure.is_met) for figure in figures}


ROWS = [
    row("clprune, dense, direct", "clprune", 60),
    row("clprune, dense", "clprune", 30),
    row("clprune, 75 % + 90 %, direct", "clprune", 21),
    row("clprune, 87.5 % + 90 %, best domain", "clprune", 10),
    row("PyTorch, eager", "pytorch", 100),
    row("PyTorch, channels_last", "pytorch", 80),
    row("ncnn", "ncnn", 50),
    row("DeepSparse", "deepsparse", 40),
]


def test_goals_of_vgg16() -> None:
    """DeepSparse is shown and is no yardstick."""
    assert figures_of(ROWS, "vgg16") == {
        "dense, direct / best of PyTorch": (0.75, None, None),
        "dense, direct / fastest peer": (1.2, None, None),
        "dense / fastest peer": (0.6, 0.8, True),
        "75 % + 90 %, direct / fastest peer": (0.42, None, None),
        "87.5 % + 90 %, best domain / fastest peer": (0.2, 0.19, False),
        "dense / DeepSparse": (0.75, None, None),
    }


@pytest.mark.parametrize(
    ("model", "batch", "cpu_class", "goal"),
    [
        ("vgg16", 8, "AVX-512", 0.55),
        ("vgg16", 3, "AVX-512", None),
        ("vgg16", 1, "NEON", None),
        ("vgg16-digits", 1, "NEON", 1.0),
        ("vgg16-digits", 8, "AVX2", None),
        ("resnet50", 1, "AVX-512", 0.95),
        ("resnet50", 1, "", None),
    ],
)
def test_goals_by_model_and_processor(model: str, batch: int, cpu_class: str, goal: float | None) -> None:
    assert figures_of(ROWS, model, batch=batch, cpu_class=cpu_class)["dense / fastest peer"][1] == goal


def test_mean_over_networks() -> None:
    from tools.bench.machine import this_machine
    from tools.bench.peers.mean import NAMES, mean_section
    from tools.bench.report import full_title

    def section(dense: float, pruned: float) -> dict[str, Any]:
        ratios = zip(NAMES, (dense, pruned), strict=True)
        return {"figures": [{"name": name, "best": best, "median": best * 2} for name, best in ratios]}

    titles = {
        "a, 3x4x4, batch 1, P": (0.5, 0.2),
        "b, 3x4x4, batch 1, P": (2.0, 0.8),
        "vgg16, 3x4x4, batch 1, P": (9, 9),
    }
    machine = this_machine()
    sections = {full_title(title, machine): section(*ratios) for title, ratios in titles.items()}
    sections[full_title("c, 3x4x4, batch 8, P", machine)] = sections["other, batch 1, P"] = section(9.0, 9.0)
    found = mean_section(sections, "P")
    assert found is not None
    assert [(figure["best"], figure["median"]) for figure in found["figures"]] == [
        (pytest.approx(1.0), pytest.approx(2.0)),
        (pytest.approx(0.4), pytest.approx(0.8)),
    ]
    assert [row[0] for row in found["parts"][0]["rows"]] == ["a", "b"]
    assert mean_section({}, "P") is None


def test_no_rivals_no_ratios() -> None:
    assert figures_of(ROWS[:4], "vgg16") == {}


def torch_facts(gpu_name: str = "") -> Any:
    from tools.bench.peers.gpu_plan import TorchFacts

    return TorchFacts(version="2.13.0", gpu_name=gpu_name, cuda="12.8" if gpu_name else "")


def plan(devices: Sequence[Any], torch: Any, *, chosen: Any = None, is_dry_run: bool = False) -> Any:
    from tools.bench.peers.gpu_plan import plan_gpu

    return plan_gpu(devices, torch, chosen=chosen, is_dry_run=is_dry_run)


def test_gpu_with_everything() -> None:
    found = plan([CPU, OTHER_GPU, GPU], torch_facts("NVIDIA H200"))
    assert (found.device, found.torch_device, found.notes) == (GPU, "cuda", ())


def test_gpu_without_an_opencl_driver() -> None:
    found = plan([CPU], torch_facts("NVIDIA H200"))
    assert (found.device, found.torch_device, found.title) == (None, "cuda", "NVIDIA H200")
    assert found.notes[0].startswith("No OpenCL driver shows NVIDIA H200: clprune was not measured.")


@pytest.mark.parametrize(("torch", "note"), [(None, "is not installed"), ("", "sees no GPU")])
def test_gpu_without_pytorch(torch: str | None, note: str) -> None:
    found = plan([GPU], None if torch is None else torch_facts(torch))
    assert (found.device, found.torch_device) == (GPU, "")
    assert note in found.notes[0]


def test_two_different_cards() -> None:
    found = plan([OTHER_GPU], torch_facts("NVIDIA H200"))
    assert "Two different cards" in found.notes[0]
    assert plan([OTHER_GPU, GPU], torch_facts("NVIDIA H200"), chosen=OTHER_GPU).device == OTHER_GPU


def test_no_gpu_at_all() -> None:
    software = imaginary_device(name="llvmpipe", type="gpu")
    with pytest.raises(NoDeviceError, match="neither OpenCL nor PyTorch shows a GPU; --dry-run"):
        plan([CPU, software], torch_facts())


def test_dry_run() -> None:
    found = plan([CPU], torch_facts(), is_dry_run=True)
    assert (found.device, found.torch_device) == (CPU, "cpu")
    assert "no figures of a GPU" in found.notes[0]
    assert plan([CPU], None, is_dry_run=True).torch_device == ""


def test_rows_of_pytorch_on_a_gpu() -> None:
    from tools.bench.gpu import torch_rows

    rows = torch_rows(plan([GPU], torch_facts("NVIDIA H200")), Path("dense.cfg"), batch=1, threads=2)
    assert [(row.label, row.options["tf32"], row.options["memory_format"]) for row in rows] == [
        ("PyTorch, TF32 off, contiguous", False, "contiguous"),
        ("PyTorch, TF32 off, channels_last", False, "channels_last"),
        ("PyTorch, TF32 on, contiguous", True, "contiguous"),
        ("PyTorch, TF32 on, channels_last", True, "channels_last"),
    ]
    assert torch_rows(plan([GPU], None), Path("dense.cfg"), batch=1, threads=2) == []


def test_speed_up_on_a_gpu() -> None:
    from tools.bench.gpu import speed_up_figures

    rows = [
        row("clprune, 75 % + 90 %, direct", "clprune", 4),
        row("PyTorch, TF32 off, contiguous", "pytorch", 12),
        row("PyTorch, TF32 off, channels_last", "pytorch", 10),
        row("PyTorch, TF32 on, contiguous", "pytorch", 6),
    ]
    assert [(figure.name, figure.best, figure.is_met) for figure in speed_up_figures(rows)] == [
        ("75 % + 90 %, direct, times as fast as PyTorch, TF32 off", 2.5, True),
        ("75 % + 90 %, direct, times as fast as PyTorch, TF32 on", 1.5, None),
    ]


@pytest.mark.parametrize("text", ["", "8,", "8;12", "0", "8,-4"])
def test_unit_rows(text: str) -> None:
    from tools.bench.prepare import parse_rows

    assert parse_rows("8,12") == (8, 12)
    with pytest.raises(UsageError, match="expected numbers such as 8,12"):
        parse_rows(text)


def test_rows_of_a_model_without_connected_layers(tmp_path: Path) -> None:
    from tools.bench.peers.__main__ import variants_of

    cfg = tmp_path / "a.cfg"
    cfg.write_text("[net]\nheight=4\nwidth=4\nchannels=3\n[convolutional]\nfilters=4\nactivation=relu\n")
    assert {variant.connected_storage for variant in variants_of(str(cfg))} == {"float32"}
    assert {variant.connected_storage for variant in variants_of("vgg16")} == {"float32", "float16"}


def test_peers_by_name() -> None:
    from tools.bench.peers.__main__ import choose_peers, parse_pythons

    assert choose_peers("ncnn, openvino", {}) == ["ncnn", "openvino"]
    assert parse_pythons(["deepsparse=venv/bin/python"]) == {"deepsparse": "venv/bin/python"}
    with pytest.raises(UsageError, match="peer 'tensorrt': expected some of pytorch, onnxruntime"):
        choose_peers("tensorrt", {})
    with pytest.raises(UsageError, match="expected NAME=PATH with one of clprune, pytorch"):
        parse_pythons(["deepsparse"])
