"""What tests of the workflow share with those of the command line: a small model in a folder of its own."""

from __future__ import annotations

from tests.cli.conftest import few_rounds, few_shares, model

__all__ = ["few_rounds", "few_shares", "model"]
