"""Tuned tiles: what is kept of them, under which keys, and which of them a plan should use."""
