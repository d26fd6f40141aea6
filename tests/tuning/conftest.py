"""Networks for the tests of tuning in a network."""

from tests.plan.conftest import always_share, network_of

__all__ = ["always_share", "network_of"]
