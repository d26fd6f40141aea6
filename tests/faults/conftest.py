"""The command line as processes of their own, with folders of their own, which end in every way there is."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from clprune.cli import main
from clprune.container.model import Model
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from tests.cli.conftest import CFG

#: Seconds after which nothing of a killed command may be left.
LEFT_SECONDS = 5.0

#: What training imports, seconds in which nothing could be lost. Nothing in it opens a device or starts threads.
PRELOADED = ["torch", "clprune.training"] if importlib.util.find_spec("torch") else []

#: PyTorch makes a folder in TMPDIR whenever it trains, ONNX Runtime a file when it is imported: they stay to be used
#: again.
OF_LIBRARIES = ("torchinductor_", ".ses")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a `model` (its weights beside it), and the commands' database, cache and temporary files."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        return self.folder / "given" / "model.cfg"

    @property
    def out(self) -> Path:
        """PREFIX of what commands write."""
        return self.folder / "out" / "made"

    @property
    def detector(self) -> Path:
        return self.folder / "given" / "boxes.cfg"

    @property
    def answers(self) -> Path:
        """What commands with workers write."""
        return self.out.with_suffix(".jsonl")

    @property
    def database(self) -> Path:
        return self.folder / "data" / "tuning.sqlite"

    def clear(self) -> None:
        """Remove all that commands have written and kept."""
        for path in (*self.out.parent.iterdir(), *self.database.parent.iterdir()):
            path.unlink()

    def start(self, *arguments: object, **options: object) -> subprocess.Popen[str]:
        """The command in a session of its own."""
        command = [sys.executable, "-m", "clprune", *map(str, arguments)]
        settings: dict[str, object] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True,
            "env": os.environ | self.environment, "start_new_session": True, **options,
        }  # fmt: skip
        return subprocess.Popen(command, **settings)  # type: ignore[call-overload,no-any-return]

    def run(self, *arguments: object, **options: object) -> tuple[int, str]:
        """Status and stderr of a command that is let be."""
        process = self.start(*arguments, **options)
        _, err = process.communicate(timeout=300)
        return process.returncode, err

    def fork(self, *arguments: object) -> BaseProcess:
        """The command in a session of its own, as a copy of a process that has imported what takes long."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *PRELOADED])
        process = context.Process(target=_run_command, args=(list(map(str, arguments)), self.environment))
        process.start()
        return process

    def kill(self, *arguments: object, after_s: float) -> None:
        """End a command after so many seconds; fails where a process or temporary file of it is left."""
        process = self.fork(*arguments)
        time.sleep(after_s)
        process.kill()
        process.join()
        self.check_nothing_left(process.pid)

    def check_nothing_left(self, session: int | None) -> None:
        """Fail where a process of a session or a temporary file is left after a while."""
        assert session is not None
        deadline = time.monotonic() + LEFT_SECONDS
        while (left := processes_of(session)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []
        names = [path.name for path in (self.folder / "tmp").iterdir()]
        assert [name for name in names if not name.startswith(OF_LIBRARIES)] == []


def _run_command(arguments: list[str], environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = None  # that of the process from which this one was copied
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), number)
    main(arguments)


def processes_of(session: int) -> list[str]:
    """Processes of a session that have not ended, as `/proc` shows them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            state, _, _, number = stat.rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(stat)
    return found


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def make_place(tmp_path: Path, shared_cache: Path) -> Callable[[], Place]:
    """A new folder with a model."""

    def make() -> Place:
        if not Path("/proc/self/stat").exists():
            pytest.skip("processes are looked up as Linux shows them")
        for name in ("given", "out", "data", "tmp"):
            (tmp_path / name).mkdir()
        names = {"CLPRUNE_DATA_DIR": "data", "TMPDIR": "tmp"}
        environment = {name: str(tmp_path / folder) for name, folder in names.items()}
        place = Place(folder=tmp_path, environment={**environment, "CLPRUNE_CACHE_DIR": str(shared_cache)})
        cfg = tmp_path / "cfg"
        cfg.write_text(CFG)
        network = load_network(cfg)
        Model(network=network, weights=random_weights(network, seed=1)).save(place.model)
        return place

    return make


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    return make_place()
