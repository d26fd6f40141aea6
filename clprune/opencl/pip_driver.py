"""Make the pip-installed CPU driver visible to the OpenCL loader, without the user setting any variable.

The wheel `intel-opencl-rt` puts the driver's library into the environment's `lib` folder, where no loader looks, and
its own `.icd` file names a path that does not exist. `OCL_ICD_VENDORS` points the loader at a folder of `.icd` files
*instead of* the system's, so that folder gets copies of the system's files beside ours.

The loader reads the variable and the files once, when the process first asks for platforms, so both exist only around
that call.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path

from clprune.opencl.environment import environment_variable

DISTRIBUTION = "intel-opencl-rt"
PLATFORM_NAME = "Intel(R) OpenCL"
_LIBRARIES = ("libintelocl.so", "intelocl64.dll")
_VARIABLE = "OCL_ICD_VENDORS"


@contextmanager
def visible() -> Iterator[bool]:
    """Show the pip driver to a loader that starts inside this context; yields whether there was something to show.

    Does nothing when the driver is not installed, when the user has set OCL_ICD_VENDORS, or when the system has the
    same driver already (two copies of it in one process would clash).
    """
    library = find_library()
    if library is None or os.environ.get(_VARIABLE) or sys.platform == "darwin":
        yield False
        return
    if sys.platform == "win32":
        # The Khronos loader, which Windows wheels carry, adds the libraries named here to the registry's.
        with environment_variable("OCL_ICD_FILENAMES", str(library)):
            yield True
        return
    files = system_icd_files()
    if any("libintelocl" in text for text in files.values()):
        yield False
        return
    files["clprune-pip-driver.icd"] = f"{library}\n"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="clprune-icd-"))
            for name, text in files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
        except OSError:  # nowhere to write: the system's drivers are all there is
            yield False
            return
        with environment_variable(_VARIABLE, folder):
            yield True


def find_library() -> Path | None:
    """Return the driver library of the installed wheel, or None."""
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name in _LIBRARIES:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    return None


def system_icd_files() -> dict[str, str]:
    """Return name and text of every `.icd` file that the loader would have read itself."""
    folders = [Path("/etc/OpenCL/vendors")]
    if (Path(sys.prefix) / "conda-meta").is_dir():
        folders.append(Path(sys.prefix) / "etc/OpenCL/vendors")
    texts: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.icd"))):
        try:
            texts[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # the loader would skip it too
    return texts
