"""Parts of `tools.bench.quantized`: the forms of a model that are compared, and how they are made and kept."""
