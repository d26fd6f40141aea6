"""The pip-installed driver is shown to the loader only where nothing of the user's is in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clprune.opencl import pip_driver

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the driver's folder of .icd files is Linux's way")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An imaginary driver on an imaginary system with one other driver."""
    path = tmp_path / "lib" / "libintelocl.so"
    monkeypatch.setattr(pip_driver, "find_library", lambda: path)
    monkeypatch.setattr(pip_driver, "system_icd_files", lambda: {"other.icd": "libother.so.1\n"})
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    return path


def shown_folder() -> Path:
    with pip_driver.visible() as shown:
        assert shown
        return Path(os.environ["OCL_ICD_VENDORS"])


@linux_only
def test_folder_holds_the_systems_drivers_and_ours(library: Path, tmp_path: Path) -> None:
    with pip_driver.visible() as shown:
        assert shown
        folder = Path(os.environ["OCL_ICD_VENDORS"])
        texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert texts == {"other.icd": "libother.so.1\n", "clprune-pip-driver.icd": f"{library}\n"}
    assert "OCL_ICD_VENDORS" not in os.environ
    assert folder.parent == tmp_path / "cache"
    assert shown_folder() == folder


@linux_only
def test_folder_is_mended_and_another_system_has_another(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shown_folder()
    (folder / "other.icd").write_text("libevil.so\n")
    (folder / "clprune-pip-driver.icd").unlink()
    assert shown_folder() == folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "other.icd": "libother.so.1\n",
        "clprune-pip-driver.icd": f"{library}\n",
    }
    monkeypatch.setattr(pip_driver, "system_icd_files", dict)
    assert shown_folder() != folder


@linux_only
@pytest.mark.parametrize("fault", ["a file of somebody else", "others may write", "a file in its place"])
def test_folder_that_is_not_ours_alone_is_not_used(library: Path, tmp_path: Path, fault: str) -> None:
    """A folder that lives as long as the driver is being found takes its place."""
    if fault == "a file of somebody else":
        (shown_folder() / "evil.icd").write_text("libevil.so\n")
    elif fault == "others may write":
        shown_folder().chmod(0o777)
    else:
        (tmp_path / "cache").write_text("")
    folder = shown_folder()
    assert folder.parent != tmp_path / "cache" and folder.name.startswith("clprune-icd-")
    assert not folder.exists()


@linux_only
def test_users_variable_is_left_alone(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", "/somewhere")
    with pip_driver.visible() as shown:
        assert not shown
        assert os.environ["OCL_ICD_VENDORS"] == "/somewhere"
    assert os.environ["OCL_ICD_VENDORS"] == "/somewhere"


@linux_only
def test_empty_variable_counts_as_unset_and_comes_back(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", "")
    with pip_driver.visible() as shown:
        assert shown
    assert os.environ["OCL_ICD_VENDORS"] == ""


def test_second_copy_of_the_same_driver_is_not_loaded(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_driver, "system_icd_files", lambda: {"intel.icd": "/opt/intel/libintelocl.so"})
    with pip_driver.visible() as shown:
        assert not shown
        assert "OCL_ICD_VENDORS" not in os.environ


def test_nothing_happens_without_the_driver(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_driver, "find_library", lambda: None)
    with pip_driver.visible() as shown:
        assert not shown
        assert "OCL_ICD_VENDORS" not in os.environ


@linux_only
def test_no_folder_to_write_to_means_no_pip_driver(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("")
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent/folder")
    with pip_driver.visible() as shown:
        assert not shown
        assert "OCL_ICD_VENDORS" not in os.environ


@linux_only
def test_installed_driver_is_found_without_any_variable() -> None:
    if pip_driver.find_library() is None:
        pytest.skip("the cpu extra is not installed")
    # LD_PRELOAD is how Oclgrind puts itself in the loader's place
    environment = {name: value for name, value in os.environ.items() if name not in {"OCL_ICD_VENDORS", "LD_PRELOAD"}}
    script = "from clprune.opencl import devices; print([d.origin for d in devices() if d.name])"
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    system_has_it = any("libintelocl" in text for text in pip_driver.system_icd_files().values())
    assert ("'pip'" in result.stdout) != system_has_it
