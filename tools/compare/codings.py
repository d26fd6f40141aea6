"""The ways to code a pruned network that are compared, and the runs that this takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clprune.darknet.quantize import QuantizeSettings


@dataclass(frozen=True, kw_only=True)
class Coded:
    """One way to code the pruned network, how many `epochs` of retraining it gets, and how many points below the dense
    one it may end.
    """

    name: str
    settings: QuantizeSettings
    epochs: int = 1
    activations: bool = False
    goal_points: float | None = None


DENSE = "dense"
PRUNED = "float32"
CODINGS = (
    Coded(name="int8", settings=QuantizeSettings(scheme="linear", bits=8), epochs=12, goal_points=0.5),
    Coded(name="4-bit codebook", settings=QuantizeSettings(scheme="codebook", bits=4), epochs=3, goal_points=1.0),
    Coded(name="int8, int8 activations", settings=QuantizeSettings(scheme="linear", bits=8), activations=True),
)


@dataclass(frozen=True, kw_only=True)
class CodedRun:
    """One row: the pruned network of a seed (`name` is PRUNED), or one of its codings (the name of one of CODINGS).

    `pruned_seed` is the seed of the pruned network that is coded; for that network itself it equals `seed`.
    """

    seed: int
    pruned_seed: int
    name: str

    @property
    def title(self) -> str:
        """As progress names it."""
        return f"{self.name}, seed {self.seed}"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What tells its row from those of others."""
        return vars(self)


def all_coded_runs(*, seeds: int, pruned_seeds: int) -> list[CodedRun]:
    """Every run, in its order: the pruned networks, then codings with goals, which a comparison that is stopped early
    shall have, then those without.
    """
    runs = [CodedRun(seed=seed, pruned_seed=seed, name=PRUNED) for seed in range(pruned_seeds)]
    for has_goal in (True, False):
        runs += [
            CodedRun(seed=seed, pruned_seed=seed % pruned_seeds, name=coded.name)
            for seed in range(seeds)
            for coded in CODINGS
            if (coded.goal_points is not None) == has_goal
        ]
    return runs


def file_name(name: str, seed: int) -> str:
    """Where a run's network is kept."""
    return f"{'pruned' if name == PRUNED else name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
