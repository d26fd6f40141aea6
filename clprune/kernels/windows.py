"""Sliding windows (`clprune.geometry.Window`) for references and templates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.geometry import Window


def sliding_windows(x: npt.NDArray[Any], window: Window, *, border: float) -> npt.NDArray[Any]:
    """`[N, C, out_height, out_width, size_y, size_x]`: what lies under each window of x `[N, C, H, W]`, a view of a
    copy with `border` around the images.
    """
    around = ((0, 0), (0, 0), (window.top, window.bottom), (window.left, window.right))
    padded = np.pad(x, around, constant_values=border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window.extent_y, window.extent_x), axis=(2, 3))
    windows = windows[:, :, :: window.stride_y, :: window.stride_x]
    return windows[..., :: window.dilation_y, :: window.dilation_x]


def window_variables(window: Window) -> dict[str, Any]:
    """What the convolutions' templates need to know of windows: offsets of columns say the rest."""
    return {"stride_y": window.stride_y, "stride_x": window.stride_x}
