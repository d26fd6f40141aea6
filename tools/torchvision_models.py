"""Converts torchvision's classifiers with random weights and compares; writes docs/results/models.md and .json.

    python -m tools.torchvision_models [--device D] [--names NAME,...]

Batch normalization has statistics away from their start. Each model runs in a process of its own, and the page is
written after each; rows of other models stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

import clprune
from clprune.errors import ClpruneError, WorkerError
from clprune.opencl import choose, open_device
from tools import RESULTS
from tools.bench.machine import device_text
from tools.bench.process import run_process
from tools.bench.report import make_section, read_section, show, table_of, write_section
from tools.terminal import options, run_command, say

HEADING = """
# Models of torchvision

Written by `python -m tools.torchvision_models`. Weights are random (torchvision's own initial ones), batch
normalization has statistics away from their start, images are noise behind ImageNet's normalization. The error is the
largest difference of the logits of 2 images from PyTorch's, over the largest logit.
"""

NAMES = (
    "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet1_0", "shufflenet_v2_x0_5", "efficientnet_b0",
    "regnet_y_400mf", "googlenet", "densenet121", "resnet18", "resnet50", "resnext50_32x4d", "inception_v3",
    "convnext_tiny", "wide_resnet50_2", "alexnet", "vgg11", "vgg16", "vgg16_bn", "vgg19",
)  # fmt: skip
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLUMNS = ("model", "input", "layers of the cfg", "million parameters", "relative error of the logits")
PACKAGES = ("clprune", "numpy", "pyopencl", "torch", "torchvision", "onnx")
LIMIT_S = 900.0


@click.command()
@options(
    names={"default": ",".join(NAMES), "help": "Which models."},
    device=None,
    seed=0,
    one={"default": None, "help": "Convert one model and print what came of it as JSON."},
    out=RESULTS / "models.json",
)
def main(names: str, device: str | None, seed: int, one: str | None, out: Path) -> None:
    """Convert torchvision's classifiers and compare their logits with PyTorch's."""
    if one is not None:
        click.echo(json.dumps(convert_one(one, device=device, seed=seed)))
        return
    info = choose(device)
    title = info.platform_name
    for name in names.split(","):
        command = [sys.executable, "-m", "tools.torchvision_models", "--one", name, "--seed", str(seed)]
        try:
            answer = run_process([*command, "--device", info.selector], name=name, limit_s=LIMIT_S)
            row = tuple(json.loads(answer))
        except WorkerError as error:
            row = (name, "", "", "", str(error))
        say("  ".join(row))
        earlier = read_section(out, title) or {"parts": [{"rows": []}]}
        rows = {found[0]: found for found in (*earlier["parts"][0]["rows"], row)}
        text = f"OpenCL: {device_text(info)}. Seed {seed}."
        section = make_section(PACKAGES, text=text, parts=[table_of(COLUMNS, rows.values())], seed=seed)
        write_section(out, title, section, heading=HEADING)
    show(title, section["parts"])


def convert_one(name: str, *, device: str | None, seed: int) -> tuple[str, ...]:
    """A row of the table."""
    import torch

    from clprune.training.vision import import_torchvision

    models = import_torchvision().models
    torch.manual_seed(seed)
    given = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, weights=None, **given).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.7, 1.4)
            torch.nn.init.normal_(part.weight, 1, 0.1)
            torch.nn.init.normal_(part.bias, 0, 0.1)
    side = models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    images = torch.rand(2, 3, side, side)
    try:
        model = clprune.from_torch(module, images, mean=MEAN, deviation=DEVIATION, device=device)
        error = _error(model, module, images, device=device)
    except ClpruneError as failure:
        return name, f"3x{side}x{side}", "", "", str(failure)
    network = model.network
    parameters = sum(int(np.prod(shape)) for layer in network.layers for shape in layer.arrays.values())
    return name, str(network.input), str(len(network.layers)), f"{parameters / 1e6:.2f}", f"{error:.1e}"


def _error(model: clprune.Model, module: Any, images: Any, *, device: str | None) -> float:
    """Of the logits, relative to the largest."""
    import torch

    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    with torch.no_grad():
        theirs = module((images - mean) / deviation).double().numpy()
    with open_device(device) as session, clprune.Runner(model, session=session) as runner:
        return float(np.abs(runner(images.numpy()) - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    run_command(main)
