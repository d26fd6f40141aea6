"""Models that are installed with clprune, as `clprune.models`: darknet cfg files, some with weights."""
