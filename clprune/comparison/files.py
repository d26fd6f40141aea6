"""Names of what lies in a comparison's folder of work."""

RUNS = "runs.jsonl"
"""A line for each retraining."""

TIMES = "times.jsonl"
"""A line for each network that was measured."""

MODELS = "models"
"""Folder of the pruned networks."""

DENSE = "dense.weights"
"""The dense network, where it was trained here."""
