"""From a network to kernel launches, without any OpenCL: what is computed on which tensor, by what, where."""
