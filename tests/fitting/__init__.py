"""Tests of `clprune.fitting`."""
