"""The rules about who imports what: one door for each heavy dependency, and quick starts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clprune

PACKAGE = Path(clprune.__file__).parent
DOORS = {"pyopencl": "opencl", "mako": "rendering.py", "torch": "training", "torchvision": "training"}
GROUND = {"errors.py", "geometry.py", "unit.py"}


def imported_modules(path: Path) -> set[str]:
    """Return the full names that a source file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(("dependency", "door"), DOORS.items())
def test_one_door_for_each_dependency(dependency: str, door: str) -> None:
    strangers = [
        str(path.relative_to(PACKAGE))
        for path in sources()
        if path.relative_to(PACKAGE).parts[0] != door
        and any(name.split(".")[0] == dependency for name in imported_modules(path))
    ]
    assert strangers == []


def test_ground_imports_nothing_of_ours_but_the_ground() -> None:
    allowed = {f"clprune.{name.removesuffix('.py')}" for name in GROUND}
    for name in GROUND:
        ours = {module for module in imported_modules(PACKAGE / name) if module.split(".")[0] == "clprune"}
        assert all(any(module == base or module.startswith(base + ".") for base in allowed) for module in ours), name


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("darknet", ("container", "kernels", "opencl", "packing", "pruning", "runner", "training", "tuning", "cli")),
        ("packing", ("opencl", "pruning", "runner", "training", "tuning", "cli")),
        ("container", ("kernels", "opencl", "pruning", "runner", "training", "tuning", "cli")),
        ("kernels", ("container", "pruning", "runner", "training", "tuning", "cli")),
        ("pruning", ("device", "kernels", "opencl", "runner", "tuning", "cli")),
        ("tuning", ("runner", "training", "pruning", "cli")),
        ("offline", ("opencl", "runner", "training", "pruning", "cli")),
        ("runner", ("training", "cli")),
        ("opencl", ("darknet", "kernels", "packing", "pruning", "runner", "training", "tuning", "cli")),
    ],
)
def test_imports_point_one_way(room: str, forbidden: tuple[str, ...]) -> None:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        wrong = [
            module
            for module in imported_modules(path)
            for other in forbidden
            if module == f"clprune.{other}" or module.startswith(f"clprune.{other}.")
        ]
        assert wrong == [], path


def loaded_after(script: str) -> set[str]:
    """Run a script in a fresh interpreter and return the top-level modules that it left loaded."""
    ending = "\nimport sys; print('\\n' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", script + ending], capture_output=True, text=True, check=True, timeout=120
    )
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import clprune").isdisjoint({"numpy", "pyopencl", "mako", "PIL", "torch", "rich", "click"})


def test_runner_needs_neither_torch_nor_matplotlib() -> None:
    loaded = loaded_after("from clprune import Runner")
    assert "pyopencl" in loaded
    assert loaded.isdisjoint({"torch", "torchvision", "matplotlib", "sklearn"})


def test_a_model_of_plain_weights_needs_no_safetensors(tmp_path: Path) -> None:
    cfg = tmp_path / "model.cfg"
    cfg.write_text("[net]\nheight=4\nwidth=4\nchannels=1\n[convolutional]\nfilters=2\nsize=1\nactivation=linear\n")
    script = (
        "from clprune.container import load_weights, save_weights\n"
        "from clprune.darknet.network import load_network\n"
        "from clprune.darknet.random_weights import random_weights\n"
        "from clprune.runner import Runner\n"
        f"network = load_network({str(cfg)!r})\n"
        f"path = {str(cfg.with_suffix('.weights'))!r}\n"
        "save_weights(path, network, random_weights(network, seed=0))\n"
        "assert load_weights(path, network).layers[0].weights.size == 2\n"
    )
    assert "safetensors" not in loaded_after(script)


def test_offline_room_needs_no_opencl() -> None:
    loaded = loaded_after("import clprune.offline.start, tools.offline.survey")
    assert loaded.isdisjoint({"pyopencl", "torch"})


def test_only_the_stage_that_retrains_needs_torch() -> None:
    stages = ("measure", "page", "plot", "coded_experiment", "coded_page")
    imports = "\n".join(f"import tools.compare.{stage}" for stage in stages)
    assert "torch" not in loaded_after(imports)


def test_help_loads_neither_torch_nor_opencl() -> None:
    script = "from clprune.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(script).isdisjoint({"torch", "pyopencl", "sklearn", "matplotlib"})


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        clprune.absent  # noqa: B018 - the access is the test
