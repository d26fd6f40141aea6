"""Processes that are killed, disks that are full, readers that have gone: `make faults`, which takes its time."""
