"""Tables and figures of what fewer bits gain; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.errors import NoDeviceError, UsageError
from clprune.turns import Series
from tools.bench.layers import LayerTimes, ModelTimes


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [((0.9, 0.5, 0.2), "below 50 %"), ((2.0, 1.5, 1.1), "above 90 %"), ((1.5, 0.5, 0.2), "60 %"), ((3, 2, 1), "90 %")],
)
def test_break_even_lies_between_measured_ratios(ratios: tuple[float, ...], expected: str) -> None:
    from tools.bench.quantized.__main__ import break_even

    assert break_even((0.5, 0.7, 0.9), ratios) == expected


def times_of(name: str, *milliseconds: float) -> ModelTimes:
    layers = tuple(
        LayerTimes(
            index=index, problem=f"problem{index}", tile_origin="tuned", is_convolution=True, remaining_share=1.0,
            kept_share=1.0, flops=1.0, read_bytes=1.0, series=Series(samples_ms=(value, 2 * value)),
        )
        for index, value in enumerate(milliseconds)
    )  # fmt: skip
    return ModelTimes(name=name, layers=layers, parameter_bytes=1, tensor_bytes=1, largest_neighbours_bytes=1)


def test_first_convolution_does_not_count() -> None:
    from tools.bench.quantized.__main__ import DENSE, DIRECT, SPARSITIES, break_even_table, sparse_figures

    times = {DENSE.name: times_of(DENSE.name, 100, 2, 4), DIRECT.name: times_of(DIRECT.name, 100, 4, 8)}
    times |= {
        f"{100 * share:g} % removed": times_of("", 100, 4 * (1 - share) * 2, 8 * (1 - share)) for share in SPARSITIES
    }
    figures = {figure.name: figure for figure in sparse_figures(times)}
    met = figures["95 % of single weights removed / dense"]
    assert met.best == pytest.approx((0.4 + 0.4) / 6)
    assert met.goal == 0.25
    columns, rows = break_even_table(times)
    assert len(rows) == 2
    assert len(rows[0]) == len(columns)
    assert rows[0][-1] == "75 %"
    assert rows[1][-1] == "below 50 %"


def test_names_of_forms() -> None:
    from clprune.darknet.quantize import QuantizeSettings
    from tools.bench.quantized.forms import Form

    int8 = QuantizeSettings(scheme="linear", bits=8)
    assert Form(name="a").weights_name == "dense"
    assert Form(name="b", sparsity=0.9, settings=int8).weights_name == "unstructured90-linear8"
    assert Form(name="c", settings=int8, activations=True).weights_name == "dense-linear8a"


def test_a_report_needs_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the script trains")
    from tools.compare.quantization import compare_quantization

    with pytest.raises(UsageError, match="no runs in"):
        compare_quantization(["--report-only", "--work", str(tmp_path)], standalone_mode=False)


def test_forms_are_what_their_weights_show(tmp_path: Path) -> None:
    from clprune.container.model import load_model
    from clprune.darknet.quantize import QuantizeSettings
    from clprune.opencl import open_device
    from clprune.plan.forms import weights_forms
    from tools.bench.quantized.forms import Form, keep_forms

    cfg = tmp_path / "small.cfg"
    cfg.write_text(
        "[net]\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nfilters=16\nsize=3\npad=1\nactivation=relu\n"
        "[convolutional]\nfilters=32\nsize=3\npad=1\nactivation=relu\n[connected]\noutput=20\nactivation=linear\n"
    )
    codebook, int8 = QuantizeSettings(scheme="codebook", bits=4), QuantizeSettings(scheme="linear", bits=8)
    forms = [Form(name="a", sparsity=0.9, settings=codebook), Form(name="b", settings=int8, activations=True)]
    try:
        session = open_device()
    except NoDeviceError:
        pytest.skip("no OpenCL device")
    with session:
        kept = keep_forms(session, cfg, forms, seed=0, with_answers=False)
    for form in forms:
        model = load_model(kept[form.weights_name][0])
        assert weights_forms(model.network, model.weights) == form.weight_forms(model.network)
