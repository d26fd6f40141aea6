"""Every pruning method on one network, one data set and one device: retrained alike, measured side by side.

`retrain` makes the accuracies, `measure` the milliseconds, `claims` and `page` what follows from them. Both stages go
on where they were stopped. Only `retrain` needs PyTorch, only `measure` a device.
"""
