"""`make coverage`: how much of the package the tests run, from the JSON report of coverage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

#: Percent of lines: of the whole package at least, of a module below which it is named.
LEAST, NAMED_BELOW = 92.0, 85.0


def main(path: str) -> int:
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    shares = {name: file["summary"]["percent_covered"] for name, file in report["files"].items()}
    low = sorted((share, name) for name, share in shares.items() if share < NAMED_BELOW)
    total = report["totals"]["percent_covered"]
    lines = [f"{share:5.1f} %  {name}" for share, name in low]
    lines.append(f"{total:5.1f} %  of the lines of clprune, {len(low)} modules below {NAMED_BELOW:.0f} %")
    if sys.version_info < (3, 12):
        lines.append("not counted here: what only slow tests, sweeps and later cases of a test run (tests/conftest.py)")
    if total < LEAST:
        lines.append(f"expected at least {LEAST:.0f} %: test what is new")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(total < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
