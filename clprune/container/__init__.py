"""Weights on disk: the packed container `PREFIX.safetensors`, and one function that loads whatever a cfg has."""

from clprune.container.load import default_weights, load_weights
from clprune.container.read import describe_packed, read_packed
from clprune.container.write import write_packed

__all__ = ["default_weights", "describe_packed", "load_weights", "read_packed", "write_packed"]
