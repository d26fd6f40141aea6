"""What `make coverage` says of a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.uncovered import main


@pytest.mark.parametrize(("total", "status"), [(92.0, 0), (91.9, 1)])
def test_low_modules_are_named_and_a_low_total_fails(
    total: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coverage.json"
    shares = {"clprune/a.py": 84.9, "clprune/b.py": 85.0, "clprune/c.py": 0.0}
    files = {name: {"summary": {"percent_covered": share}} for name, share in shares.items()}
    path.write_text(json.dumps({"files": files, "totals": {"percent_covered": total}}))
    assert main(str(path)) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["  0.0 %  clprune/c.py", " 84.9 %  clprune/a.py"]
    assert lines[2] == f" {total} %  of the lines of clprune, 2 modules below 85 %"
    assert len(lines) == 3 + (sys.version_info < (3, 12)) + status
