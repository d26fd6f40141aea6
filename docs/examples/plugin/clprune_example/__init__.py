"""A layer, a kernel, a pruning method and a data set for clprune, one file each."""
