"""Names of what lies in a comparison's folder of work."""

#: A line for each retraining.
RUNS = "runs.jsonl"

#: A line for each network that was measured.
TIMES = "times.jsonl"

#: Folder of the pruned networks.
MODELS = "models"

#: The dense network, where it was trained here.
DENSE = "dense.weights"
