"""What can be measured on a GPU here, by clprune, PyTorch or both, and what to say where something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from clprune.device import DeviceInfo
from clprune.errors import NoDeviceError

#: Answers what `TorchFacts` holds, in a process of its own: the benchmark itself never imports PyTorch.
_QUESTION = """
import json, torch
has_gpu = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "gpu_name": torch.cuda.get_device_name(0) if has_gpu else "",
    "cuda": (torch.version.cuda or torch.version.hip or "") if has_gpu else "",
    "cudnn": str(torch.backends.cudnn.version() or "") if has_gpu else "",
}))
"""


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """PyTorch here; `gpu_name`, `cuda` and `cudnn` are empty where it sees no GPU."""

    version: str
    gpu_name: str = ""
    cuda: str = ""
    cudnn: str = ""


@dataclass(frozen=True, kw_only=True)
class GpuPlan:
    """`device` runs clprune's rows (None: there are none), `torch_device` PyTorch's ("cuda", "cpu" or empty: none).

    `notes` go into the results: what is missing, and why.
    """

    title: str
    device: DeviceInfo | None
    torch_device: str
    notes: tuple[str, ...]


def ask_torch() -> TorchFacts | None:
    """None where PyTorch is not installed or does not load."""
    result = subprocess.run([sys.executable, "-c", _QUESTION], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return None
    return TorchFacts(**json.loads(result.stdout.splitlines()[-1]))


def plan_gpu(
    devices: Sequence[DeviceInfo], torch: TorchFacts | None, *, chosen: DeviceInfo | None, is_dry_run: bool
) -> GpuPlan:
    """What to measure with these OpenCL devices and this PyTorch.

    `chosen` is the device that the user named, else the first GPU counts that PyTorch's also is, or the first of all. A
    dry run goes through the same on the CPU. Raises NoDeviceError where no GPU is to be seen at all.
    """
    gpus = [device for device in devices if device.type == "gpu" and not device.is_software]
    if is_dry_run:
        notes = ["A dry run on the CPU: these are no figures of a GPU."]
        notes += ["PyTorch is not installed."] if torch is None else []
        device, torch_device = chosen or next(iter(devices), None), "cpu" if torch else ""
        return GpuPlan(title="dry run", device=device, torch_device=torch_device, notes=tuple(notes))
    same = [gpu for gpu in gpus if torch is not None and _is_same(gpu, torch)]
    device = chosen or next(iter([*same, *gpus]), None)
    torch_device = "cuda" if torch is not None and torch.gpu_name else ""
    if device is None and not torch_device:
        raise NoDeviceError("neither OpenCL nor PyTorch shows a GPU; --dry-run goes through everything on the CPU")
    notes = []
    if device is None:
        notes.append(
            f"No OpenCL driver shows {torch.gpu_name if torch else 'the GPU'}: clprune was not measured. Its driver's "
            "OpenCL part and an .icd file that names it are needed; `clprune devices` lists what is found."
        )
    if torch is None:
        notes.append("PyTorch is not installed: there is nothing to compare with.")
    elif not torch_device:
        notes.append(f"PyTorch {torch.version} sees no GPU: there is nothing to compare with.")
    elif device is not None and not _is_same(device, torch):
        notes.append(f"Two different cards: OpenCL ran on {device.name}, PyTorch on {torch.gpu_name}.")
    name = device.name if device is not None else torch.gpu_name if torch is not None else ""
    return GpuPlan(title=name, device=device, torch_device=torch_device, notes=tuple(notes))


def _is_same(device: DeviceInfo, torch: TorchFacts) -> bool:
    """By name; drivers differ in how much of the maker's name they put in front."""
    left, right = device.name.lower(), torch.gpu_name.lower()
    return bool(left and right) and (left in right or right in left)
