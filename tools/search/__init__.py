"""Recorded spaces of tiles, and searches replayed on them: clprune's beside Kernel Tuner's, without any device."""
