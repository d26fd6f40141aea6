"""The package of docs/examples/plugin, installed by pip: its layer, kernel, method and data set by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.command_line import clprune

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PLUGIN = Path(__file__).parents[2] / "docs" / "examples" / "plugin"

CFG = """\
[net]
width=16
height=16
channels=3
[convolutional]
filters=8
size=3
pad=1
activation=leaky
[convolutional]
filters=16
size=3
pad=1
activation=linear
[clamp]
low=-0.5
high=2
[avgpool]
[connected]
output=4
activation=linear
[softmax]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the package: a wheel is a zip file, so that nothing has to build one."""
    folder = tmp_path_factory.mktemp("plugin")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())
    name, version = project["project"]["name"].replace("-", "_"), project["project"]["version"]
    groups = project["project"]["entry-points"]
    entries = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in groups.items()
    )
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    facts = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted((PLUGIN / "clprune_example").iterdir()):
            if path.suffix in (".py", ".mako"):
                archive.write(path, f"clprune_example/{path.name}")
        archive.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{facts}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{facts}/entry_points.txt", entries)
        archive.writestr(f"{facts}/RECORD", "")
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture(scope="module")
def model(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with the layer, trained a little on the data set."""
    pytest.importorskip("torch", reason="training needs PyTorch")
    cfg = tmp_path_factory.mktemp("model") / "stripes.cfg"
    cfg.write_text(CFG)
    out = cfg.with_name("trained")
    done = clprune(site, "train", cfg, "--data", "stripes", "--count", 128, "--batch", 32, "--epochs", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    return cfg.with_name("trained.cfg") if cfg.with_name("trained.cfg").exists() else cfg


def weights_of(model: Path) -> Path:
    return next(path for path in sorted(model.parent.glob("trained*")) if path.suffix == ".weights")


@pytest.mark.usefixtures("device_context")
def test_layer_and_kernel_are_verified_on_the_device(site: Path, model: Path) -> None:
    done = clprune(site, "verify", model, weights_of(model))
    assert done.returncode == 0, done.stderr
    assert "clamp" in done.stdout


def test_layer_is_exported(site: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    done = clprune(site, "export", model, weights_of(model), "--onnx", tmp_path / "stripes.onnx")
    assert done.returncode == 0, done.stderr
    assert "within" in done.stdout


@pytest.mark.usefixtures("device_context")
def test_data_set_measures_accuracy(site: Path, model: Path) -> None:
    done = clprune(site, "eval", model, weights_of(model), "--data", "stripes", "--count", 64, "--json")
    assert done.returncode == 0, done.stderr
    assert 0 <= json.loads(done.stdout)["accuracy"] <= 1


@pytest.mark.usefixtures("device_context")
def test_method_prunes_with_its_option(site: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    done = clprune(
        site, "prune", model, weights_of(model), "--method", "random", "--draw", 3, "--sparsity", 0.5, "--unit", "4x1",
        "--data", "stripes", "--count", 64, "--batch", 32, "--epochs", 1, "--out", out, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "random"
    assert "prune_method=random" in Path(f"{out}.cfg").read_text()


def test_without_the_package_the_layer_is_unknown(model: Path, tmp_path: Path) -> None:
    done = clprune(tmp_path, "verify", model, weights_of(model))
    assert done.returncode == 1
    assert "clamp" in done.stderr
