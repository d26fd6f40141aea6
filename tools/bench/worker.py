"""The process of one engine in a benchmark; started by `tools.bench.workers`, not by hand."""

from __future__ import annotations

from tools.bench.peers.engines import load_engine
from tools.bench.serve import serve

if __name__ == "__main__":
    serve(load_engine)
