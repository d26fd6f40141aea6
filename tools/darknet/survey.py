"""Does a cfg run, and is every layer right? One process for each, so that none can harm the next.

    python -m tools.darknet.survey CFG [--side N] [--device D] [--seed N]

The answer is one JSON object on stdout.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from clprune.darknet.random_weights import random_images
from clprune.errors import CfgError, ClpruneError, UnsupportedLayerError
from clprune.opencl import open_device
from clprune.runner.compare import verify_model
from tools.darknet.network import read_network, well_conditioned
from tools.terminal import options, run_command


def survey(path: Path, *, side: int | None, device: str | None, seed: int) -> dict[str, Any]:
    """What came of a cfg: `state` is right, wrong, refused or failed; `text` says why or by how much."""
    with tempfile.TemporaryDirectory(prefix="clprune-survey-") as work:
        found = _survey(path, side=side, device=device, seed=seed, work=Path(work))
        return {**found, "text": found["text"].replace(str(path.parent) + "/", "").replace(f"{work}/", "")}


def _survey(path: Path, *, side: int | None, device: str | None, seed: int, work: Path) -> dict[str, Any]:
    try:
        with open_device(device) as session:
            network = read_network(path, side=side, work=work)
            weights = well_conditioned(network, seed=seed)
            errors = verify_model(session, network, weights, random_images(network, seed=seed))
    except (UnsupportedLayerError, CfgError) as error:
        return {"state": "refused", "text": str(error)}
    except ClpruneError as error:
        return {"state": "failed", "text": str(error)}
    worst = max(errors, key=lambda error: error.relative_error / error.tolerance)
    where = "answer" if worst.layer is None else f"layer {worst.layer}"
    return {
        "state": "right" if all(error.is_within for error in errors) else "wrong",
        "text": f"{worst.relative_error:.1e} of {worst.tolerance:.1e} ({where})",
        "layers": len(network.layers),
        "input": str(network.input),
    }


@click.command()
@click.argument("cfg", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(side={"type": int}, device=None, seed=0)
def main(cfg: Path, side: int | None, device: str | None, seed: int) -> None:
    """Run one cfg with random weights and compare every layer with the float64 reference."""
    cfg = cfg.resolve()
    os.chdir(cfg.parent.parent)  # from where the files that it names are seen in darknet's own checkout
    click.echo(json.dumps(survey(cfg, side=side, device=device, seed=seed)))


if __name__ == "__main__":
    run_command(main)
