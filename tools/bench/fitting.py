"""What `clprune fit` promises and keeps: a model at several shares of its dense time, by all methods and by each alone.

python -m tools.bench.fitting MODEL --data DATA [--parts 0.3,0.4,...] [--epochs N] [--work FOLDER] [--out FILE.json]

One table of times and losses serves all; what was measured is kept in the folder `--work`, so that a run that was
killed goes on there.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import click

from clprune.container.model import load_model
from clprune.errors import UsageError
from clprune.fitting.kinds import METHODS
from clprune.opencl import Session, open_device
from clprune.workflow.fit import FitResult, Target, fit_all
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
    cfg = find_cfg(model)
    shares, names = [float(part) for part in told["parts"].split(",")], told["methods"].split(",")
    folder: Path = told["work"]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "data": data, "epochs": told["epochs"], "count": told["images"], "tries": told["tries"],
        "tune_s": told["tune"], "seed": told["seed"], "out": folder / cfg.stem,
    }  # fmt: skip
    with open_device(device) as session:
        ways = [tuple(names), *((name,) for name in names if len(names) > 1)]
        found = {(share, way): fit_once(cfg, session, share, way, settings) for share in shares for way in ways}
        section = section_of(found, settings, session)
        title = f"{cfg.stem}, {data}, {session.info.platform_name}"
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


def fit_once(
    cfg: Path, session: Session, share: float, way: tuple[str, ...], settings: dict[str, Any]
) -> FitResult | str:
    """The model at that share of its dense time, or why it cannot be reached."""
    say(f"{share:g} of the dense time by {', '.join(way)}")
    try:
        return fit_all(load_model(cfg), targets=[Target(speed_up=1 / share)], methods=way, device=session, **settings)[
            0
        ]
    except UsageError as error:
        return str(error)


def section_of(
    found: dict[tuple[float, tuple[str, ...]], FitResult | str], settings: dict[str, Any], session: Session
) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    rows, gaps = [], []
    for (share, way), one in found.items():
        name = way[0] if len(way) == 1 else "all"
        if isinstance(one, str):
            rows.append((f"{share:g}", name, *["-"] * 5, "no"))
            continue
        proof = one.proof
        gaps.append(abs(one.promised_ms / proof.fitted_ms - 1))
        rows.append(
            (
                f"{share:g}", name, f"{one.promised_ms:.3f}", f"{proof.fitted_ms:.3f}", f"{proof.dense_ms:.3f}",
                f"{proof.points_lost:.2f}", f"{100 * proof.agreement:.2f}%", "yes" if one.is_met else "no",
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
        text=f"OpenCL: {session.info.name}. {settings['epochs']} epochs of retraining.{gap}",
        parts=[table_of(columns, rows)],
        results=[
            {"share": share, "methods": list(way), "result": one if isinstance(one, str) else one.to_dict()}
            for (share, way), one in found.items()
        ],
    )


if __name__ == "__main__":
    run_command(bench_fitting)
