"""Running a network: layouts, plan, packed weights on the device, and the `Runner` that ties them together."""

from clprune.runner.runner import Runner

__all__ = ["Runner"]
