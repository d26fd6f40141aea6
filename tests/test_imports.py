"""The rules about who imports what: one door for each heavy dependency, and quick starts."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import clprune

PACKAGE = Path(clprune.__file__).parent
DOORS = {
    "pyopencl": "opencl",
    "cuda": "opencl",
    "mako": "rendering.py",
    "torch": "training",
    "torchvision": "training",
    "onnx": "exchange",
    "onnxruntime": "exchange",
    "dask": "distributed",
    "distributed": "distributed",
    "pyarrow": "distributed",
}

#: Every folder and module of the package from the bottom to the top: each imports only what stands before it.
ORDER = (
    *(
        "version",
        "errors",
        "closing",
        "precision",
        "algorithms",
        "geometry",
        "unit",
        "tolerance",
        "resources",
        "machine",
    ),
    *("folders", "files"),
    *("json_input", "plugins", "turns", "progress", "libtiff", "picture", "image", "dataset"),
    *("device", "quirks", "selection", "architecture"),
    *("winograd", "quantization", "darknet", "container", "pruning"),
    *("layout", "opencl_c", "clang", "rendering", "source_hash", "packing", "kernels"),
    *("opencl", "launching", "chaining", "candidate", "bandwidth"),
    *("plan", "tiles", "offline", "runner", "detection", "tuning"),
    *("training", "data"),  # the door to torchvision, which brings torch, is training's
    *("fitting", "exchange", "workflow", "distributed", "clprune", "cli", "__main__"),
)

#: Circles among files, to be mended.
CIRCLES: set[frozenset[str]] = set()

#: Folders whose modules are found by name.
DISCOVERED = ("clprune.cli", "clprune.darknet.kinds", "clprune.data", "clprune.kernels", "clprune.pruning.methods")

#: Room -> rooms that it must not import though they stand below it.
APART = {
    "packing": ("pruning",),
    "kernels": ("container", "pruning"),
    "pruning": ("device",),
    "tuning": ("pruning",),
    "offline": ("opencl", "runner", "pruning"),
    "opencl": ("darknet", "kernels", "packing", "pruning"),
    "training": ("kernels", "opencl", "runner", "tuning"),
}


@functools.cache
def import_statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Those of a source file, also inside functions."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


@functools.cache
def imported_modules(path: Path) -> frozenset[str]:
    """The full names that a source file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


@functools.cache
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


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the package -> its file; a package is called by its folder."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources()
    }


@functools.cache
def imports() -> dict[str, frozenset[str]]:
    """Module -> the modules of the package that it imports anywhere, inside functions and for type checks too.

    What is taken from a package is taken from the module of that name where there is one, else from the package.
    """
    known = modules()
    graph = {}
    for name, path in known.items():
        found: set[str] = set()
        for node in import_statements(path):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            else:
                assert node.module is not None
                assert not node.level, f"{path}: expected absolute imports"
                names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found.update(longer if longer in known else node.module for longer in names.values())
        graph[name] = frozenset((found & known.keys()) - {name})
    return graph


def room(module: str) -> str:
    """The folder or file below `clprune/` that a module belongs to; `clprune` itself is the public surface."""
    return module.split(".")[1] if "." in module else module


def test_every_folder_and_module_has_its_place_in_the_order() -> None:
    assert len(set(ORDER)) == len(ORDER)
    assert {room(module) for module in modules()} == set(ORDER)


def test_imports_point_down_the_order() -> None:
    """One total order of folders and modules, lazy imports counted: no circle among them is possible."""
    place = {name: number for number, name in enumerate(ORDER)}
    uphill = {
        (module, other)
        for module, others in imports().items()
        for other in others
        if place[room(other)] > place[room(module)]
    }
    assert uphill == set()


def circles(graph: dict[str, frozenset[str]]) -> set[frozenset[str]]:
    """Groups of modules that all reach each other."""
    reached = {name: reachable(graph, [name]) for name in graph}
    groups = (frozenset(b for b in reached[a] if a in reached[b]) for a in graph)
    return {group for group in groups if len(group) > 1}


def reachable(graph: dict[str, frozenset[str]], starts: Iterable[str]) -> set[str]:
    """`starts` and what they import, directly or not."""
    reached: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(graph[name])
    return reached


def test_no_circles_among_files() -> None:
    assert circles(imports()) == CIRCLES, "take what is mended off the list"


def test_everything_is_reached_from_the_public_surface_or_the_command_line() -> None:
    """Nothing else belongs into the package: research and what serves tests alone has its place beside it."""
    found = [name for name in modules() for folder in DISCOVERED if name.startswith(f"{folder}.")]
    reached = reachable(imports(), ["clprune", "clprune.__main__", *found])
    packages = {name.rpartition(".")[0] for name in reached}
    assert modules().keys() - reached - packages == set()


def test_research_stands_on_the_library_not_on_the_command_line() -> None:
    wrong = {
        (path.name, name)
        for path in (PACKAGE.parent / "tools").rglob("*.py")
        for name in imported_modules(path)
        if name == "clprune.cli" or name.startswith("clprune.cli.")
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", DISCOVERED)
def test_folders_of_modules_found_by_name_are_looked_through(folder: str) -> None:
    parent = PACKAGE.parent.joinpath(*folder.split("."))
    texts = [path.read_text(encoding="utf-8") for path in (*parent.glob("*.py"), *parent.parent.glob("*.py"))]
    assert any("module_names(" in text or '.glob("*.py")' in text for text in texts)


@pytest.mark.parametrize(("module", "forbidden"), APART.items())
def test_what_the_order_would_allow_stays_apart(module: str, forbidden: tuple[str, ...]) -> None:
    wrong = {
        (name, other)
        for name, others in imports().items()
        for other in others
        if room(name) == module and room(other) in forbidden
    }
    assert wrong == set()


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
        "from clprune.container.load import load_weights, save_weights\n"
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
    stages = ("measure", "page", "plot", "experiment", "frame", "methods_page", "coded_page")
    imports = "\n".join(f"import tools.compare.{stage}" for stage in stages)
    assert "torch" not in loaded_after(imports)


def test_help_loads_neither_torch_nor_opencl() -> None:
    """That of no command does."""
    lines = ("from clprune.cli import _commands, main", "for name in ('', *_commands()):", "    try:",
             "        main([*name.split(), '--help'])", "    except SystemExit:", "        pass")  # fmt: skip
    assert loaded_after("\n".join(lines)).isdisjoint({"torch", "pyopencl", "sklearn", "matplotlib"})


def test_the_command_line_loads_no_pygments_with_mako() -> None:
    start = "import sys; sys.argv[1:] = ['--help']\nfrom clprune.cli import main\n"
    script = start + "try:\n    main()\nexcept SystemExit:\n    import mako.exceptions"
    assert "pygments" not in loaded_after(script)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        clprune.absent  # noqa: B018 - the access is the test
