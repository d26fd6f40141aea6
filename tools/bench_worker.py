"""The process of one engine in a benchmark; started by `clprune.benchmark.workers`, not by hand."""

from __future__ import annotations

from peers import load_engine

from clprune.benchmark.serve import serve

if __name__ == "__main__":
    serve(load_engine)
