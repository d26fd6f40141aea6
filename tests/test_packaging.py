"""What is installed: setup.cfg lists packages and files one by one, so users alone would miss a forgotten one."""

from __future__ import annotations

import configparser
from fnmatch import fnmatch
from pathlib import Path

import pytest

import clprune

ROOT = Path(clprune.__file__).resolve().parent.parent
CONFIG = ROOT / "setup.cfg"
pytestmark = pytest.mark.skipif(not CONFIG.is_file(), reason="runs in a checkout only")


def options(section: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read(CONFIG, encoding="utf-8")
    return parser[section]


def test_every_package_is_listed() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "clprune").rglob("__init__.py")}
    listed = set(options("options")["packages"].split())
    assert listed == {".".join(folder.parts) for folder in folders} | {"clprune.models", "clprune.templates"}


@pytest.mark.parametrize("package", ["models", "templates"])
def test_every_shipped_file_matches_a_pattern(package: str) -> None:
    patterns = [pattern.strip() for pattern in options("options.package_data")[f"clprune.{package}"].split(",")]
    folder = ROOT / package
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    shipped = [name for name in files if not name.endswith((".py", ".pyc", ".md"))]
    assert shipped
    assert [name for name in shipped if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_metadata_is_not_overridden() -> None:
    """A [project] table in pyproject.toml would silently replace setup.cfg."""
    assert "[project]" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()


def test_version_is_the_packages() -> None:
    parser = configparser.ConfigParser()
    parser.read(CONFIG, encoding="utf-8")
    assert parser["metadata"]["version"] == "attr: clprune.__version__"
