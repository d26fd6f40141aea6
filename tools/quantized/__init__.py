"""Parts of `tools/bench_quantized.py`: the forms of a model that are compared, and how they are made and kept."""
