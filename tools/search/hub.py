"""clprune's search beside all of Kernel Tuner's on the public recorded spaces of the benchmark hub, without any device.

    git clone https://github.com/AutoTuningAssociation/benchmark_hub
    pip install -r tools/search/requirements.txt
    python -m tools.search.hub --hub benchmark_hub [--repeats N] [--strategy NAME ...] [--minutes M] [--work FOLDER]
        [--out FILE.md]

Convolution and dedispersion on six GPUs. Every strategy gets the same simulated seconds on a space and is scored as the
hub scores (`tools/search/hub_score.py`). All get their first repeats before any gets more. The work folder keeps every
simulated search: what was ended, or shall have more repeats, goes on from there; with another version of a search, take
another folder.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from clprune.errors import MissingDependencyError
from clprune.files import write_atomically
from tools.bench.machine import circumstances
from tools.bench.report import markdown_table
from tools.search.hub_score import END, Scale
from tools.search.hub_space import EVALUATIONS, OWN, simulate, unpack
from tools.terminal import SECONDS, counter, options, run_command

#: Kernel Tuner's strategies for one objective, in the words of its documentation; the last two were generated.
KERNEL_TUNER = (
    "random_sample",
    "genetic_algorithm",
    "diff_evo",
    "pso",
    "firefly_algorithm",
    "simulated_annealing",
    "dual_annealing",
    "basinhopping",
    "minimize",
    "mls",
    "greedy_mls",
    "ordered_greedy_mls",
    "greedy_ils",
    "bayes_opt",
    "hybrid_vndx",
    "adaptive_tabu_greywolf",
)

_ROUND = 5  # repeats that everything gets before anything gets more
GOAL = 0.05  # that clprune shall be ahead by, on the mean over the spaces
_PACKAGES = ("kernel_tuner", "autotuning_methodology", "numpy", "scipy", "scikit-learn")

#: Spaces that settings of clprune's search were chosen on; the others were only looked at with the settings chosen.
CHOSEN_ON = (
    "convolution A4000",
    "convolution MI250X",
    "convolution W6600",
    "dedispersion A4000",
    "dedispersion A6000",
    "dedispersion MI250X",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One strategy on one space: its score, and the mean over repeats of what it tried and of best seen / best."""

    strategy: str
    space: str
    repeats: int
    score: float
    evaluations: float
    slowdown: float


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The simulated searches of one strategy on one space, in a file of the work folder."""

    scale: Scale
    strategy: str
    seed: int
    work: Path

    @property
    def _path(self) -> Path:
        return self.work / f"{self.strategy}-{self.scale.space.name.replace(' ', '-')}-{self.seed}.jsonl"

    def lines(self) -> list[str]:
        """One of JSON per search; what was not written to its end is none."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def add(self, repeats: int, *, end_s: float) -> None:
        """Simulate what is missing to so many; none is begun after `end_s` of the monotonic clock."""
        lines, space = self.lines(), self.scale.space
        if len(lines) >= repeats or time.monotonic() > end_s:
            return
        tick = counter(f"{self.strategy}, {space.name}", repeats - len(lines))
        write_atomically(self._path, "".join(line + "\n" for line in lines))
        with self._path.open("a", encoding="utf-8") as file:
            for number in range(len(lines), repeats):
                if time.monotonic() > end_s:
                    return
                run = simulate(space, self.strategy, seed=self.seed + number, seconds=self.scale.budget_seconds)
                file.write(json.dumps(run) + "\n")
                file.flush()
                tick()


def measure(kept: Kept, *, repeats: int) -> Outcome | None:
    """Score the first so many simulated searches, or all that there are. None where there is none."""
    scale, strategy = kept.scale, kept.strategy
    runs = [json.loads(line) for line in kept.lines()[:repeats]]
    if not runs:
        return None
    best = float(scale.statistics.total_performance_absolute_optimum())
    seen = [min((time_ms for _, time_ms in run if time_ms is not None), default=best) for run in runs]
    return Outcome(
        strategy=strategy,
        space=scale.space.name,
        repeats=len(runs),
        score=scale.score(runs, name=strategy),
        evaluations=statistics.fmean(map(len, runs)),
        slowdown=statistics.fmean(time_ms / best for time_ms in seen),
    )


def report(document: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    spaces = list(document["spaces"])
    chosen_on = [space for space in spaces if space in CHOSEN_ON]
    rows = []
    for name, one in ranked(document).items():
        cells = [f"{one[space]['score']:.3f}" for space in spaces]
        repeats = min(one[space]["repeats"] for space in spaces)
        rows.append((name, repeats, *(f"{mean_score(one, which):.3f}" for which in (spaces, chosen_on)), *cells))
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    facts = [
        (
            name + (" *" if name in CHOSEN_ON else ""),
            item["configurations"],
            item["failing"],
            f"{item['median_over_best']:.2f}",
            item["random_evaluations"],
            f"{item['budget_seconds']:.0f}",
        )
        for name, item in document["spaces"].items()
    ]
    tried = [
        (name, *(f"{one[space]['slowdown']:.4f} ({one[space]['evaluations']:.0f})" for space in spaces))
        for name, one in ranked(document).items()
    ]
    short = [space.replace("convolution", "conv.").replace("dedispersion", "dedisp.") for space in spaces]
    parts = [
        "# Search: clprune and Kernel Tuner on the benchmark hub's spaces",
        f"`python -m tools.search.hub --hub benchmark_hub --repeats {document['repeats']} --seed {document['seed']}`; "
        f"{document['date']}; Python {document['machine']['python']}, {versions}. No device is used: convolution and "
        "dedispersion as recorded on six GPUs ([benchmark_hub](https://github.com/AutoTuningAssociation/"
        "benchmark_hub)), replayed by Kernel Tuner in its simulation mode. Its strategies have their default "
        "options, which are tuned ones for the genetic algorithm, but those that would end after 100 evaluations, "
        f"whatever is left of the budget, may go on, bayes_opt to {EVALUATIONS['bayes_opt']}. Some of what they "
        "compute is computed more quickly here, with the same choices (`tools/search/hub_fast.py`), to their "
        f"advantage. {_repeats(document)}clprune's search is the one of `clprune tune`, without starting tiles or "
        "other spaces known, asked for one configuration after the other.",
        "The score is the hub's own (`autotuning_methodology`): 0 is random search as calculated, 1 is the best "
        f"configuration at once; the mean over the simulated time in which random search gets from 1 % to {END:.0%} of "
        "the way from the median to the best. A row's mean is over all spaces; that in the next column is over those "
        "marked *, the only ones on which settings of clprune's search were chosen. The goal is to be ahead of every "
        f"strategy of Kernel Tuner by {GOAL}: of the {len(rows) - 1} here it is by {lead(document):.3f}.",
        markdown_table(("strategy", "repeats", "mean", "mean of *", *short), rows),
        "The spaces: `random` is how many evaluations random search needs to the end of that time, on average.",
        markdown_table(("space", "configurations", "failing", "median / best", "random", "budget, s"), facts),
        "Best time seen within the budget over the best of the space, mean over repeats, and how many results there "
        "were, repeated ones included:",
        markdown_table(("strategy", *short), tried),
    ]
    return "\n\n".join(parts) + "\n"


def _repeats(document: Mapping[str, Any]) -> str:
    """A sentence where there were fewer than asked for."""
    wanted = document["repeats"]
    is_short = any(item["repeats"] < wanted for item in document["outcomes"])
    return f"Where the table has fewer than {wanted} repeats, there was no time for more. " if is_short else ""


def ranked(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Strategy -> space -> outcome, of those that ran on every space, the best first."""
    table: dict[str, dict[str, Any]] = {}
    for item in document["outcomes"]:
        table.setdefault(item["strategy"], {})[item["space"]] = item
    whole = {name: one for name, one in table.items() if one.keys() >= document["spaces"].keys()}
    return dict(sorted(whole.items(), key=lambda pair: -mean_score(pair[1], list(document["spaces"]))))


def mean_score(one: Mapping[str, Any], spaces: Sequence[str]) -> float:
    """Of one strategy's outcomes."""
    return statistics.fmean(one[space]["score"] for space in spaces) if spaces else math.nan


def lead(document: Mapping[str, Any]) -> float:
    """By how much clprune's mean is above the best of Kernel Tuner's."""
    means = {name: mean_score(one, list(document["spaces"])) for name, one in ranked(document).items()}
    own = means.pop(OWN, float("nan"))
    return own - max(means.values(), default=float("nan"))


def facts_of(scale: Scale) -> dict[str, Any]:
    """What the report says of a space."""
    numbers = scale.statistics
    return {
        "configurations": int(numbers.size),
        "failing": int(numbers.objective_performances_number_of_nan),
        "median_over_best": float(numbers.total_performance_median() / numbers.total_performance_minimum()),
        "random_evaluations": scale.cutoff[0],
        "budget_seconds": scale.budget_seconds,
    }


@click.command()
@options(
    hub={"required": True, "type": click.Path(path_type=Path), "help": "A copy of benchmark_hub."},
    repeats=50,
    seed=0,
    chosen={"flag": "--strategy", "multiple": True, "help": "Only these [default: clprune's, all of Kernel Tuner's]."},
    wanted={"flag": "--space", "multiple": True, "help": "Only these, as 'convolution A100' [default: all twelve]."},
    minutes={"type": SECONDS, "help": "Begin no simulation after these; score what there is."},
    work=Path("build/hub"),
    out={"help": "Markdown file to write, and the figures as JSON beside it."},
)
def main(  # noqa: PLR0917 - click gives them by name
    hub: Path,
    repeats: int,
    seed: int,
    chosen: tuple[str, ...],
    wanted: tuple[str, ...],
    minutes: float | None,
    work: Path,
    out: Path | None,
) -> None:
    """Print the table."""
    try:
        import autotuning_methodology
        import kernel_tuner
    except ImportError as error:
        raise MissingDependencyError(
            f"what the hub is searched and scored with is not installed ({error}): "
            "pip install -r tools/search/requirements.txt"
        ) from error
    assert autotuning_methodology and kernel_tuner
    scales = [Scale(space=space) for space in unpack(hub, work) if not wanted or space.name in wanted]
    end_s = math.inf if minutes is None else time.monotonic() + minutes * 60
    every = [
        Kept(scale=scale, strategy=strategy, seed=seed, work=work)
        for strategy in chosen or (OWN, *KERNEL_TUNER)
        for scale in scales
    ]
    for so_many in (*range(_ROUND, repeats, _ROUND), repeats):
        for kept in every:
            kept.add(so_many, end_s=end_s)
    outcomes = [outcome for kept in every if (outcome := measure(kept, repeats=repeats)) is not None]
    document = {
        **circumstances(_PACKAGES),
        "repeats": repeats,
        "seed": seed,
        "spaces": {scale.space.name: facts_of(scale) for scale in scales},
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    text = report(document)
    click.echo(text)
    if out is not None:
        write_atomically(out, text)
        write_atomically(out.with_suffix(".json"), json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
