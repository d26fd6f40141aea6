"""Make the pip-installed CPU driver visible to the OpenCL loader, without the user setting any variable.

The wheel `intel-opencl-rt` puts the driver's library into the environment's `lib` folder, where no loader looks, and
its own `.icd` file names a path that does not exist. `OCL_ICD_VENDORS` points the loader at a folder of `.icd` files
*instead of* the system's, so that folder gets copies of the system's files beside ours. It stays in the user's cache,
named after what it holds, where the next process finds it and a killed one leaves nothing to clean up.

The loader reads the variable and the files once, when the process first asks for platforms, so the variable is set only
around that call.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path

from clprune.errors import FileError
from clprune.files import write_atomically
from clprune.folders import cache_folder, stranger_at
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
            folder = _folder_with(files)
        except (OSError, FileError):
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clprune-icd-")))
                _fill(folder, files)
            except (OSError, FileError):  # nowhere to write: the system's drivers are all there is
                yield False
                return
        with environment_variable(_VARIABLE, str(folder)):
            yield True


def _folder_with(files: dict[str, str]) -> Path:
    """A folder of the user's cache with exactly these files. Raises OSError and FileError where there can be none."""
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    folder = cache_folder().resolve() / f"icd-{digest[:16]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {path.name for path in folder.glob("*.icd")} - files.keys() or stranger_at(folder.parent, folder):
        raise FileError("is not ours alone", path=folder)
    _fill(folder, files)
    return folder


def _fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomically(path, text)


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
