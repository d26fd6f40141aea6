"""Open a device by whichever driver reaches it."""

from __future__ import annotations

from clprune.device import DeviceInfo
from clprune.opencl.cuda import PLATFORM_NAME, CudaSession
from clprune.opencl.platforms import choose
from clprune.opencl.session import Session


def open_device(selection: str | None = None, *, keeps_binaries: bool = True) -> Session:
    """Open the device that `choose(selection)` names. Raises NoDeviceError."""
    return open_session(choose(selection), keeps_binaries=keeps_binaries)


def open_session(info: DeviceInfo, *, keeps_binaries: bool = True) -> Session:
    """Open the device that `info` addresses; without `keeps_binaries` nothing goes to the cache on disk.

    Raises NoDeviceError.
    """
    driver = CudaSession if info.platform_name == PLATFORM_NAME else Session
    return driver(info, keeps_binaries=keeps_binaries)
