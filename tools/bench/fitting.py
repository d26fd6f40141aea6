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

from clprune.container.model import load_model
from clprune.errors import UsageError
from clprune.files import write_atomically
from clprune.fitting.kinds import METHODS
from clprune.fitting.record import model_hash
from clprune.opencl import Session, open_device
from clprune.progress import ProgressLines
from clprune.workflow.fit_result import Target
from clprune.workflow.fitter import FitSettings, open_fitter
from tools.bench.models import find_cfg
from tools.bench.report import make_section, show, table_of, write_section
from tools.terminal import COUNT, options, run_command, say

HEADING = """\
# Fitted to budgets

`clprune fit` at shares of the dense network's time, by all methods together and by each alone, with one table of times
and losses and the same retraining. Promised and measured are whole inferences; the dense network is timed in turns with
the fitted one. Written by `python -m tools.bench.fitting`.
"""


@click.command()
@click.argument("model")
@options(
    data={"required": True, "metavar": "DATA", "help": "As for `clprune fit`."},
    parts={"default": "0.3,0.4,0.5,0.6,0.7,0.8", "metavar": "P,P,...", "help": "Shares of the dense time."},
    methods={"default": ",".join(METHODS), "metavar": "M,M,...", "help": "Together, and each alone."},
    epochs={"type": click.IntRange(min=0), "default": 0},
    images={"default": None},
    tries={"type": COUNT, "default": 20, "help": "Choices among which the whole network decides."},
    tune={"default": 300.0},
    seed={"default": 0},
    device=None,
    work={"default": Path("build/fitting")},
    out={"default": Path("docs/results/fitting.json")},
)
def bench_fitting(model: str, device: str | None, data: str, out: Path, **told: Any) -> None:
    """Fit, prove, write the page."""
    cfg, folder = find_cfg(model), told["work"]
    shares, names = [float(part) for part in told["parts"].split(",")], told["methods"].split(",")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "data": data, "epochs": told["epochs"], "count": told["images"], "tries": told["tries"],
        "tune_s": told["tune"], "seed": told["seed"],
    }  # fmt: skip
    with open_device(device) as session:
        facts = {**settings, "model": model_hash(load_model(cfg)), **session.info.facts}
        known = Known(folder / f"{cfg.stem}.fits.json", facts)
        ways = [tuple(names), *((name,) for name in names if len(names) > 1)]
        for way in ways:
            fit_way(cfg, session, known, way=way, shares=shares, settings=settings)
        section = section_of([known.fits[key_of(share, way)] for share in shares for way in ways], settings, session)
        title = f"{cfg.stem}, {data}, {session.info.platform_name}"
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
    cfg: Path, session: Session, known: Known, *, way: tuple[str, ...], shares: list[float], settings: dict[str, Any]
) -> None:
    """Fit the model to those shares of its dense time that are not `known`, by the table that serves all ways."""
    missing = [share for share in shares if key_of(share, way) not in known.fits]
    if not missing:
        return
    stem = f"{cfg.stem}-{name_of(way)}"
    prefixes = {share: known.path.parent / f"{stem}-{100 * share:.0f}" for share in missing}
    asked = FitSettings(load_model(cfg), methods=way, device=session, progress=ProgressLines(say), **settings)
    table = known.path.parent / f"{cfg.stem}.fit.json"
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


def section_of(fits: list[dict[str, Any]], settings: dict[str, Any], session: Session) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    rows, gaps = [], []
    for fit in fits:
        share, name, one = fit["share"], name_of(fit["methods"]), fit["result"]
        if isinstance(one, str):
            rows.append((f"{share:g}", name, *["-"] * 5, "no"))
            continue
        gaps.append(abs(one["promised_ms"] / one["fitted_ms"] - 1))
        rows.append(
            (
                f"{share:g}", name, f"{one['promised_ms']:.3f}", f"{one['fitted_ms']:.3f}", f"{one['dense_ms']:.3f}",
                f"{one['points_lost']:.2f}", f"{100 * one['agreement']:.2f}%", "yes" if one["is_met"] else "no",
            )
        )  # fmt: skip
    columns = ("share", "methods", "promised ms", "measured ms", "dense ms", "points lost", "agreement", "kept")
    gap = ""
    if gaps:
        gap = (
            f" Promised and measured differ by {100 * max(gaps):.1f} % at most, {100 * fmean(gaps):.1f} % on the mean."
        )
    return make_section(
        ["clprune", "numpy", "pyopencl", "torch"],
        text=(
            f"OpenCL: {session.info.name}. {settings['epochs']} epochs on {settings['count'] or 'all'} images, "
            f"{settings['tries']} choices tried, up to {settings['tune_s']:g} s of tuning for each.{gap}"
        ),
        parts=[table_of(columns, rows)],
        results=fits,
    )


if __name__ == "__main__":
    run_command(bench_fitting)
