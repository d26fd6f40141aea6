"""What each command does, as a function: models and data in, typed results out, progress told to a callback.

Nothing here prints, asks or ends the process. Results are frozen, and `to_dict()` is what `--json` prints.
"""
