"""Every pruning method on one network, one data set and one device: retrained alike, measured side by side.

`retrain` makes the accuracies, `measure` the milliseconds, `claims` and `page` what follows from them. Both stages go
on where they were stopped. Only `retrain` needs PyTorch, only `measure` a device. `codings`, `coded_experiment`,
`coded_runs`, `coded_others` and `coded_page` are the same for networks in fewer bits; `coded_runs` needs both.
"""
