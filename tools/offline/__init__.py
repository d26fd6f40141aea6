"""Every kernel of the catalogue compiled for GPUs that are not here: `python -m tools.offline`."""
