"""One target for a while: inputs are made of the corpus, handled in a worker, and kept where they led somewhere new."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.targets import Target
from tests.fuzz.worker import LIMIT_S, Outcome, Worker

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
DEVICE_EVERY = 500

#: A corpus does not grow beyond so many inputs: all of them are tried at the start.
MAX_CORPUS = 2000


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """When to stop, whichever comes first, and how often an accepted network runs on a device."""

    seconds: float | None = None
    count: int | None = None
    device_every: int = DEVICE_EVERY
    limit_s: float = LIMIT_S


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was tried and found; `faults` are the files of the first input of each."""

    target: str
    inputs: int
    accepted: int
    on_device: int
    corpus: int
    seconds: float
    faults: tuple[Path, ...]

    def __str__(self) -> str:
        ran = f", {self.on_device} run on a device" if self.on_device else ""
        return (
            f"{self.target}: {self.inputs} inputs in {self.seconds:.0f} s, {self.accepted} accepted{ran}, "
            f"{self.corpus} in the corpus, {len(self.faults)} faults"
        )


def fuzz(target: Target, *, seed: int, bounds: Bounds, folder: Path, say: Callable[[str], None]) -> Result:
    """Try inputs of `target` within `bounds`; each new fault is said with the command that repeats it."""
    kept, faults_folder = folder / target.name / "corpus", folder / target.name / "faults"
    for path in (kept, faults_folder):
        path.mkdir(parents=True, exist_ok=True)
    random, corpus = Random(f"{target.name} {seed}"), _load_corpus(target, kept)
    known = list(corpus)  # tried first, unchanged: they tell which ways are no longer new
    faults: dict[str, Path] = {}
    signatures: set[str] = set()
    accepted = on_device = number = 0
    start = time.monotonic()
    path = folder / target.name / f"input{target.suffix}"
    worker = Worker(target)
    try:
        for number in itertools.count():
            if number == bounds.count or (bounds.seconds is not None and time.monotonic() - start > bounds.seconds):
                break
            is_known = number < len(known)
            content = known[number] if is_known else target.mutate(random, random.choice(corpus), corpus)
            path.write_bytes(content)
            outcome = worker.handle(path, limit_s=bounds.limit_s)
            accepted += outcome.is_accepted
            if outcome.is_accepted and not outcome.fault and target.runs and _is_chosen(accepted, bounds.device_every):
                on_device += 1
                outcome = worker.handle(path, on_device=True)
            is_new = outcome.signature not in signatures
            signatures.add(outcome.signature)
            if outcome.fault and is_new:
                faults[outcome.signature] = _keep(faults_folder, content, target)
                say(_told(target, outcome, faults[outcome.signature]))
            elif is_new and not is_known and len(corpus) < MAX_CORPUS:
                corpus.append(content)
                _keep(kept, content, target)
    finally:
        worker.close()
    return Result(
        target=target.name,
        inputs=number,
        accepted=accepted,
        on_device=on_device,
        corpus=len(corpus),
        seconds=time.monotonic() - start,
        faults=tuple(faults.values()),
    )


def _load_corpus(target: Target, kept: Path) -> list[bytes]:
    """The valid inputs, which code makes, and what earlier runs kept."""
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as name:
        target.seeds(Path(name))
        seeds = [path.read_bytes() for path in sorted(Path(name).iterdir())]
    return seeds + [path.read_bytes() for path in sorted(kept.iterdir())]


def _is_chosen(accepted: int, device_every: int) -> bool:
    return device_every > 0 and accepted % device_every == 1 % device_every


def _keep(folder: Path, content: bytes, target: Target) -> Path:
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{target.suffix}"
    path.write_bytes(content)
    return path


def _told(target: Target, outcome: Outcome, path: Path) -> str:
    command = f".venv/bin/python -m tests.fuzz --target {target.name} --repeat {path}"
    return f"{target.name}: {outcome.fault}\n  again: {command}"
