"""What exporters compose of small operators, and functions that no activation of clprune's equals."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
import clprune
from clprune.errors import ExchangeError
from clprune.opencl import Session, open_device
from tests.exchange.test_convert import kinds

torch = pytest.importorskip("torch", reason="the files are written by PyTorch")
nn, functional = torch.nn, torch.nn.functional


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


class After(nn.Module):  # type: ignore[misc]  # torch is found when the test runs
    """`function` of a convolution with six filters, and of `modules`."""

    def __init__(self, function: Callable[..., Any], *modules: Any) -> None:
        super().__init__()
        self.first, self.function, self.others = nn.Conv2d(3, 8, 3), function, nn.ModuleList(modules)

    def forward(self, x: Any) -> Any:
        return self.function(self.first(x), *self.others)


def converted(module: Any, folder: Path, session: Session, *, opset: int = 17) -> Any:
    torch.manual_seed(1)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.utils.export(module.eval(), (torch.rand(1, 3, 10, 12),), file, opset_version=opset)
    (folder / "m.onnx").write_bytes(file.getvalue())
    return clprune.convert(folder / "m.onnx", out=folder / "m", device=session)


def last(x: Any, layer: Any) -> Any:
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def attention(x: Any, layer: Any) -> Any:
    return x * torch.sigmoid(layer(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


def focus(x: Any, layer: Any) -> Any:
    return layer(torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1))


CASES: dict[str, tuple[Any, list[str]]] = {
    "itself added": (After(lambda x: x + x), ["convolutional"]),
    "itself multiplied": (After(lambda x: x * x), ["convolutional", "sam"]),
    "a square": (After(lambda x: x**2), ["convolutional", "sam"]),
    "mean square": (
        After(lambda x: x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6)),
        ["convolutional", "normalization"],
    ),
    "length": (After(lambda x: functional.normalize(x, dim=1)), ["convolutional", "l2norm"]),
    "channels": (After(lambda x: x.sum(1, keepdim=True)), ["convolutional", "convolutional"]),
    "attention": (
        After(attention, nn.Conv2d(2, 1, 3, padding=1)),
        ["convolutional", "convolutional", "route", "maxpool", "route", "convolutional", "scale_channels"],
    ),
    "maxima": (After(lambda x: functional.adaptive_max_pool2d(x, 1).flatten(1)), ["convolutional", "maxpool"]),
    "means": (After(lambda x: x.flatten(2).mean(2)), ["convolutional", "avgpool"]),
    "planes added": (
        After(lambda x: x + x.mean(1, keepdim=True)),
        2 * ["convolutional"] + ["convolutional", "shortcut"],
    ),
    "channels added": (
        After(lambda x: x - x.mean((2, 3), keepdim=True)),
        ["convolutional", "avgpool", "resize", "convolutional", "shortcut"],
    ),
    "slope": (
        After(nn.LeakyReLU(0.25)),
        ["convolutional", "convolutional", "route", "activation", "convolutional", "shortcut"],
    ),
    "slopes": (
        After(lambda x, layer: layer(x), nn.PReLU(8)),
        ["convolutional", "activation", "convolutional", "route", "convolutional", "shortcut"],
    ),
    "bounds between probes": (After(lambda x: functional.hardtanh(x, -0.2, 0.3)), []),
    "bounds": (After(lambda x: functional.hardtanh(x, -2, 3)), []),
    "corners": (After(lambda x: functional.relu6(functional.leaky_relu(x, 0.3) * 2 - 1)), []),
    "gelu": (After(lambda x: functional.gelu(x, approximate="tanh")), []),
    "shuffled": (After(lambda x, layer: layer(x), nn.PixelShuffle(2)), ["convolutional", "convolutional", "reorg"]),
    "focus": (After(focus, nn.Conv2d(32, 4, 1)), []),
    "classes of places": (After(lambda x: (x * 2).softmax(1)), ["convolutional", "softmax"]),
    "rows": (After(lambda x: x.mean(2, keepdim=True)), ["convolutional", "local_avgpool"]),
    "columns": (After(lambda x: x.amax(3)), []),
    "sums": (After(lambda x: x.sum((2, 3))), ["convolutional", "avgpool", "convolutional"]),
    "one channel": (After(lambda x: x.sum(1).unsqueeze(1)), ["convolutional", "convolutional"]),
    "selu": (After(functional.selu), []),
    "elu": (After(lambda x: functional.elu(x, 0.3)), []),
    "rounded up": (After(lambda x: functional.avg_pool2d(x, 3, 2, ceil_mode=True)), ["convolutional", "local_avgpool"]),
    "rounded up with a border": (
        After(lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
        ["convolutional", "pad", "local_avgpool"],
    ),
    "every other": (After(lambda x: functional.relu(x[:, 1:, 1::2, ::3])), []),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_computed(name: str, tmp_path: Path, session: Session) -> None:
    module, expected = CASES[name]
    found = converted(module, tmp_path, session)
    assert found.relative_error < 1e-5
    assert not expected or kinds(found.model) == expected


@pytest.mark.parametrize("opset", [9, 12, 14, 17])
def test_layer_normalization_of_any_version(opset: int, tmp_path: Path, session: Session) -> None:
    found = converted(After(last, nn.LayerNorm(8, eps=1e-3)), tmp_path, session, opset=opset)
    assert found.relative_error < 1e-5
    assert kinds(found.model) == ["convolutional", "convolutional", "normalization", "convolutional"]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (After(lambda x: x.softmax(2)), "goes along axis 2 .*expected runs of neighbouring values"),
        (After(functional.softplus), "comes after operators that no activation of clprune equals"),
        (After(lambda x: x.mean((1, 2))), r"takes axes \[1, 2\] of .*: expected height and width, or channels"),
        (After(lambda x: x[..., ::2, :].flip(3)), "comes|takes|expected|supported"),
    ],
)
def test_what_is_not_is_one_line(module: Any, text: str, tmp_path: Path, session: Session) -> None:
    with pytest.raises(ExchangeError, match=text) as found:
        converted(module, tmp_path, session)
    assert "\n" not in str(found.value)
