"""`python -m clprune`, and with it `torchrun -m clprune`, is the command `clprune`."""

from __future__ import annotations

from clprune.cli import main

if __name__ == "__main__":
    main()
