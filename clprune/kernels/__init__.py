"""One file per kernel: what may be tuned, under which constraints, how it is launched, and its float64 reference."""
