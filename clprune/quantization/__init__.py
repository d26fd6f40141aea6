"""Weights and activations in fewer bits: symmetric linear codes, k-means codebooks, half precision. NumPy only."""
