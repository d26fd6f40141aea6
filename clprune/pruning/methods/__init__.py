"""The pruning methods: one file each, named as the method, with a `METHOD`. Nothing else here imports them by name."""
