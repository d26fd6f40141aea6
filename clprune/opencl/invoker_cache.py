"""Let pyopencl make kernels for a user without a writable home, as in many containers.

pyopencl keeps the Python code that it generates for each kernel's arguments in a database under the user's cache
folder, opens it when the first kernel is made, and fails where it cannot.
"""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
from pathlib import Path

import platformdirs

from clprune.errors import NoDeviceError
from clprune.folders import stranger_at
from clprune.opencl.environment import environment_variable

_MODULE = "pyopencl.invoker"


@functools.cache
def prepare() -> tempfile.TemporaryDirectory[str] | None:
    """Import the part of pyopencl that opens its database; in a temporary folder where the usual one is unwritable,
    or where others may write: the code that lies there is run.

    Once per process; the folder lives as long as this function's cached result. Raises NoDeviceError when there is
    no writable folder at all.
    """
    usual = Path(platformdirs.user_cache_dir("pytools", "pytools"))
    if _MODULE in sys.modules or (_is_writable(usual) and not stranger_at(usual)):
        importlib.import_module(_MODULE)
        return None
    try:
        folder = tempfile.TemporaryDirectory(prefix="clprune-pyopencl-")
    except OSError as error:
        raise NoDeviceError(
            f"pyopencl needs a folder to write to: {usual} and a temporary one failed ({error})"
        ) from error
    with environment_variable("XDG_CACHE_HOME", folder.name):
        importlib.import_module(_MODULE)
    return folder


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
