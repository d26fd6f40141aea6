"""Weights on disk: the packed container `PREFIX.safetensors`, and one function that loads whatever a cfg has."""

from clprune.container.load import default_weights, is_packed, load_weights, save_weights
from clprune.container.read import StoredLayer, describe_packed, read_packed
from clprune.container.write import write_packed

__all__ = [
    "StoredLayer",
    "default_weights",
    "describe_packed",
    "is_packed",
    "load_weights",
    "read_packed",
    "save_weights",
    "write_packed",
]
