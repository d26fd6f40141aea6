"""Research on clprune, run from the checkout: `python -m tools.bench.peers`. Nothing of the package imports it.

`bench` times clprune beside other engines and itself, `compare` retrains and measures pruning methods, `search` replays
tuning on recorded spaces, `offline` compiles every kernel for GPUs that are not here. `demo.py` runs the shipped
models, `make_models.py` makes them.
"""

from __future__ import annotations

from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent

#: Where pages of results lie, beside the figures they are made of.
RESULTS = ROOT / "docs" / "results"
