"""What `clprune fit` promises and keeps: a model at several shares of its dense time, by all methods and by each alone.

python -m tools.bench.fitting MODEL --data DATA [--parts 0.3,0.4,...] [--epochs N] [--work FOLDER] [--out FILE.json]

One table of times and losses serves all; it and every fit that was made are kept in the folder `--work`, so that a run
that was killed goes on there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from clprune.container.model import Model, load_model
from clprune.errors import UsageError
from clprune.files import write_atomically
from clprune.fitting.kinds import METHODS
from clprune.fitting.record import model_hash
from clprune.opencl import Session, open_device
from clprune.progress import ProgressLines
from clprune.training import Recipe
from clprune.training.recipe import usual_batch
from clprune.workflow.fit_result import Target
from clprune.workflow.fitter import FitSettings, open_fitter
from tools.bench.models import find_cfg
from tools.bench.report import make_section, show, table_of, write_section
from tools.terminal import COUNT, options, run_command, say

HEADING = """\
# Fitted to budgets

`clprune fit` at shares of the dense network's time, by all methods together and by each alone, with one table of times
and losses and the same retraining. Promised and measured are whole inferences; the dense network is timed in turns with
the fitted one. Points are of accuracy, of agreement where pictures have no labels. Written by
`python -m tools.bench.fitting`.
"""

#: Options that are the recipe's.
RECIPE = (
    *("epochs", "learning_rate", "distillation", "dropout_strength"),
    *("shift_pixels", "flip", "precision", "seed"),
)


@click.command()
@click.argument("model")
@options(
    data={"required": True, "metavar": "DATA", "help": "As for `clprune fit`."},
    parts={"default": "0.3,0.4,0.5,0.6,0.7,0.8", "metavar": "P,P,...", "help": "Shares of the dense time."},
    methods={"default": ",".join(METHODS), "metavar": "M,M,...", "help": "Together."},
    alone={"default": None, "metavar": "M,M,...", "help": "Those that are tried alone as well [default: all]."},
    epochs={"type": click.IntRange(min=0), "default": 0},
    images={"default": None},
    batch={"type": COUNT, "default": 1, "help": "Images of an inference."},
    learning_rate={"type": float, "default": 0.02, "help": "Its peak in retraining."},
    distillation={"type": float, "default": 0.5, "help": "Share of the loss from the dense network's answers."},
    dropout_strength={"type": float, "default": 0.0, "help": "Factor of the cfg's dropout."},
    shift_pixels={"type": click.IntRange(min=0), "default": 0},
    flip=False,
    precision={"default": "float32"},
    tries={"type": COUNT, "default": 20, "help": "Choices among which the whole network decides."},
    tune={"default": 300.0},
    seed={"default": 0},
    about={"default": "", "metavar": "TEXT", "help": "What a reader of the page has to know beside."},
    device=None,
    work={"default": Path("build/fitting")},
    out={"default": Path("docs/results/fitting.json")},
)
def bench_fitting(model: str, device: str | None, data: str, out: Path, **told: Any) -> None:
    """Fit, prove, write the page."""
    cfg, folder = find_cfg(model), told["work"]
    shares, names = [float(part) for part in told["parts"].split(",")], told["methods"].split(",")
    folder.mkdir(parents=True, exist_ok=True)
    dense = load_model(cfg, batch=told["batch"])
    recipe = {**{name: told[name] for name in RECIPE}, "batch": usual_batch(dense.network)}
    settings = {"data": data, "count": told["images"], "tries": told["tries"], "tune_s": told["tune"]}
    settings |= {"seed": told["seed"], "recipe": Recipe(**recipe) if told["epochs"] else None}
    with open_device(device) as session:
        facts = {**settings, "recipe": recipe, "batch": dense.network.batch, "model": model_hash(dense)}
        facts |= session.info.facts
        known = Known(folder / f"{cfg.stem}.fits.json", facts)
        alone = names if told["alone"] is None else told["alone"].split(",")
        ways = [tuple(names), *((name,) for name in alone if len(names) > 1)]
        for way in ways:
            fit_way(dense, session, known, way=way, shares=shares, settings=settings)
        section = section_of([known.fits[key_of(share, way)] for share in shares for way in ways], facts, session)
        section["text"] = " ".join(filter(None, (told["about"], section["text"])))
        title = f"{cfg.stem}, {data.rpartition('/')[2]}, {session.info.platform_name}"
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


class Known:
    """Fits that were made, by name, as JSON holds them, kept in the file `path`; those with other `facts` are not."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.facts = path, facts
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.fits: dict[str, dict[str, Any]] = found["fits"] if found.get("facts") == facts else {}

    def add(self, key: str, fit: dict[str, Any]) -> None:
        """Keep one more."""
        self.fits[key] = fit
        write_atomically(self.path, json.dumps({"facts": self.facts, "fits": self.fits}))


def key_of(share: float, way: tuple[str, ...]) -> str:
    """What a fit is kept under."""
    return f"{share:g} {','.join(way)}"


def name_of(methods: Sequence[str]) -> str:
    """What the page calls a way."""
    return methods[0] if len(methods) == 1 else "all"


def fit_way(
    dense: Model, session: Session, known: Known, *, way: tuple[str, ...], shares: list[float], settings: dict[str, Any]
) -> None:
    """Fit the model to those shares of its dense time that are not `known`, by the table that serves all ways."""
    missing = [share for share in shares if key_of(share, way) not in known.fits]
    if not missing:
        return
    stem = f"{dense.path.stem}-{name_of(way)}"
    prefixes = {share: known.path.parent / f"{stem}-{100 * share:.0f}" for share in missing}
    asked = FitSettings(dense, methods=way, device=session, progress=ProgressLines(say), **settings)
    table = known.path.parent / f"{dense.path.stem}.fit.json"
    with open_fitter(asked, prefixes=list(prefixes.values()), record=table) as fitter:
        for share, prefix in prefixes.items():
            say(f"{share:g} of the dense time by {', '.join(way)}")
            fit: dict[str, Any] = {"share": share, "methods": list(way)}
            target = Target(speed_up=1 / share)
            try:
                fitter.check(target)
                fit["result"] = fitter.reach(target, prefix).to_dict()
            except UsageError as error:
                fit["result"] = str(error)
            known.add(key_of(share, way), fit)


def section_of(fits: list[dict[str, Any]], facts: dict[str, Any], session: Session) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    rows, gaps = [], []
    for fit in fits:
        share, name, one = fit["share"], name_of(fit["methods"]), fit["result"]
        if isinstance(one, str):
            rows.append((f"{share:g}", name, *["-"] * 6, "no"))
            continue
        gaps.append(abs(one["promised_ms"] / one["dense_table_ms"] / (one["fitted_ms"] / one["dense_ms"]) - 1))
        rows.append(
            (
                f"{share:g}", name, f"{one['promised_ms']:.3f}", f"{one['fitted_ms']:.3f}", f"{one['dense_ms']:.3f}",
                f"{one['fitted_ms'] / one['dense_ms']:.3f}", f"{one['points_lost']:.2f}",
                f"{100 * one['agreement']:.2f}%", "yes" if one["is_met"] else "no",
            )
        )  # fmt: skip
    columns = (
        *("share", "methods", "promised ms", "measured ms", "dense ms"),
        *("measured share", "points lost", "agreement", "kept"),
    )
    gap = ""
    if gaps:
        gap = (
            f" Promised and measured shares of the dense network's time differ by {100 * max(gaps):.1f} % at most, "
            f"{100 * fmean(gaps):.1f} % on the mean."
        )
    recipe = facts["recipe"]
    retrained = "Not retrained."
    if recipe["epochs"]:
        others = (f"{name.replace('_', ' ')} {value}" for name, value in recipe.items() if name != "epochs")
        retrained = f"Retrained for {recipe['epochs']} epochs: {', '.join(others)}."
    return make_section(
        ["clprune", "numpy", "pyopencl", "torch"],
        text=(
            f"OpenCL: {session.info.name}, batch {facts['batch']}. {facts['count'] or 'All'} images, seed "
            f"{facts['seed']}, {facts['tries']} choices tried, up to {facts['tune_s']:g} s of tuning for the table and "
            f"for each choice. {retrained}{gap}{against_best(fits)}"
        ),
        parts=[table_of(columns, rows)],
        results=[{**fit, "result": _facts(fit["result"])} for fit in fits],
    )


def _facts(result: dict[str, Any] | str) -> dict[str, Any] | str:
    """What the results keep of a fit: nothing about this machine's folders, and of each layer what was chosen."""
    if isinstance(result, str):
        return result
    found = {name: value for name, value in result.items() if name not in ("cfg", "weights", "data")}
    return {**found, "layers": [{k: v for k, v in one.items() if k != "runners_up"} for one in result["layers"]]}


def against_best(fits: list[dict[str, Any]]) -> str:
    """A sentence: how many points all methods together lose fewer than the best one alone, budget by budget."""
    met = [fit for fit in fits if not isinstance(fit["result"], str) and fit["result"]["is_met"]]
    together = {fit["share"]: fit["result"]["points_lost"] for fit in met if len(fit["methods"]) > 1}
    gains = []
    for share, lost in together.items():
        alone = {name_of(fit["methods"]): fit for fit in met if fit["share"] == share and len(fit["methods"]) == 1}
        if alone:
            name = min(alone, key=lambda one: float(alone[one]["result"]["points_lost"]))
            gains.append((share, name, alone[name]["result"]["points_lost"] - lost))
    if not gains:
        return ""
    each = ", ".join(f"{share:g}: {gain:+.2f} ({name})" for share, name, gain in gains)
    return (
        f" All together against the best alone that kept the budget, in points: {each}; on the mean "
        f"{fmean(gain for *_, gain in gains):+.2f}."
    )


if __name__ == "__main__":
    run_command(bench_fitting)
