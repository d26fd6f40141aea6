"""Weights with whole units of zeros to compact values and index lists. NumPy only."""
