"""Winograd's minimal filtering: exact transform matrices, NumPy references, numerical error. NumPy only."""
