"""Every pruning method on one network, one data set and one device: retrained alike, measured side by side.

`frame` is what the three comparisons share: `methods`, `winograd` (pruning in the Winograd domain) and `quantization`
(networks in fewer bits). Each goes on where it was stopped. `retrain` makes the accuracies, `measure` the milliseconds;
only the former needs PyTorch, only the latter a device. `coded_runs` needs both.
"""
