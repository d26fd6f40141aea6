"""Weights on disk: the packed container `PREFIX.safetensors`, and one function that loads whatever a cfg has."""
