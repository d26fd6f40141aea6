"""One target for a while: inputs are made of the corpus, handled in a worker, and kept where they led somewhere new."""

from __future__ import annotations

import hashlib
import itertools
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.targets import Target
from tests.fuzz.worker import LIMIT_S, Outcome, Worker, scratch_folder

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
DEVICE_EVERY = 500

#: Names of files in it differ from run to run.
_SCRATCH = re.compile(r"(/[\w/]*clprune-fuzz-\w+)+")

#: A corpus does not grow beyond so many inputs: all of them are tried at the start.
MAX_CORPUS = 2000

#: Mutations in a row that were tried before, after which a target has no new ones.
MOST_REPEATS = 2000


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """When to stop, whichever comes first, and how often an accepted network runs on a device."""

    seconds: float | None = None
    count: int | None = None
    device_every: int = DEVICE_EVERY
    limit_s: float = LIMIT_S


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was tried and found: `inputs` were made by mutation, all different; `findings` says each fault
    once, `faults` are the files of its first input.
    """

    target: str
    inputs: int
    accepted: int
    on_device: int
    corpus: int
    seconds: float
    faults: tuple[Path, ...]
    findings: tuple[str, ...]

    def __str__(self) -> str:
        ran = f", {self.on_device} run on a device" if self.on_device else ""
        return (
            f"{self.target}: {self.inputs} inputs in {self.seconds:.0f} s, {self.accepted} accepted{ran}, "
            f"{self.corpus} in the corpus, {len(self.faults)} faults"
        )


@dataclass(kw_only=True)
class _Readers:
    """The process that reads, and one with a device, which starts with the first network that runs there."""

    target: Target
    bounds: Bounds
    accepted: int = 0
    on_device: int = 0

    def __post_init__(self) -> None:
        self._workers = [Worker(self.target)]

    def handle(self, path: Path) -> Outcome:
        """What came of an input; of every so many accepted ones on a device."""
        outcome, every = self._workers[0].handle(path, limit_s=self.bounds.limit_s), self.bounds.device_every
        self.accepted += outcome.is_accepted
        if outcome.fault or not outcome.is_accepted or not self.target.runs or every == 0:
            return outcome
        if self.accepted % every != 1 % every:
            return outcome
        if len(self._workers) == 1:
            self._workers.append(Worker(self.target, on_device=True))
        self.on_device += 1
        return self._workers[1].handle(path)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def fuzz(target: Target, *, seed: int, bounds: Bounds, folder: Path, say: Callable[[str], None]) -> Result:
    """Try inputs of `target` within `bounds`; each new fault is said with the command that repeats it."""
    kept, faults_folder = folder / target.name / "corpus", folder / target.name / "faults"
    for path in (kept, faults_folder):
        path.mkdir(parents=True, exist_ok=True)
    random, corpus = Random(f"{target.name} {seed}"), _load_corpus(target, kept)
    known = list(corpus)  # tried first, unchanged: they tell which ways are no longer new
    made: set[int] = set()
    faults: dict[str, Path] = {}
    findings: list[str] = []
    signatures: set[str] = set()
    readers = _Readers(target=target, bounds=bounds)
    start = time.monotonic()
    scratch = tempfile.TemporaryDirectory(prefix="clprune-fuzz-", dir=scratch_folder())
    path = Path(scratch.name) / f"input{target.suffix}"
    try:
        for number in itertools.count():
            is_known = number < len(known)
            content = known[number] if is_known else _new_input(target, random, corpus, made)
            if content is None:
                break
            path.write_bytes(content)
            outcome = readers.handle(path)
            is_new = outcome.signature not in signatures
            signatures.add(outcome.signature)
            if outcome.fault and is_new:
                faults[outcome.signature] = _keep(faults_folder, content, target)
                findings.append(f"{target.name}: {_SCRATCH.sub('FOLDER', outcome.fault)}")
                say(_told(target, outcome, faults[outcome.signature]))
            elif is_new and not is_known and len(corpus) < MAX_CORPUS:
                corpus.append(content)
                _keep(kept, content, target)
            if len(made) == bounds.count or (bounds.seconds is not None and time.monotonic() - start > bounds.seconds):
                break
    finally:
        readers.close()
        scratch.cleanup()
    return Result(
        target=target.name,
        inputs=len(made),
        accepted=readers.accepted,
        on_device=readers.on_device,
        corpus=len(corpus),
        seconds=time.monotonic() - start,
        faults=tuple(faults.values()),
        findings=tuple(findings),
    )


def _new_input(target: Target, random: Random, corpus: list[bytes], made: set[int]) -> bytes | None:
    """One that is none of those `made` before, which it joins; None where the target has no more."""
    for _ in range(MOST_REPEATS):
        content = target.mutate(random, random.choice(corpus), corpus)
        if hash(content) not in made:
            made.add(hash(content))
            return content
    return None


def _load_corpus(target: Target, kept: Path) -> list[bytes]:
    """The valid inputs, which code makes, and what earlier runs kept."""
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as name:
        target.seeds(Path(name))
        seeds = [path.read_bytes() for path in sorted(Path(name).iterdir())]
    return seeds + [path.read_bytes() for path in sorted(kept.iterdir())]


def _keep(folder: Path, content: bytes, target: Target) -> Path:
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{target.suffix}"
    path.write_bytes(content)
    return path


def _told(target: Target, outcome: Outcome, path: Path) -> str:
    command = f".venv/bin/python -m tests.fuzz --target {target.name} --repeat {path}"
    return f"{target.name}: {outcome.fault}\n  again: {command}"
