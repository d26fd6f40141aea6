"""Tiles as points in space, for a model that learns which are fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.kernels.tile import Value

Array = npt.NDArray[np.float64]


def encode(tiles: Sequence[Any], *, parameters: Mapping[str, Sequence[Value]]) -> Array:
    """`[tiles, parameters]`: numbers by their logarithm, words by their place in the list, each from 0 to 1.

    Numbers act by ratios (a tile of 8 is to 4 as 4 to 2), hence the logarithm; 0 stands one step below 1.
    """
    columns = []
    for name, values in parameters.items():
        scale = dict(zip(values, _places(values), strict=True))
        columns.append([scale[getattr(tile, name)] for tile in tiles])
    points: Array = np.array(columns, np.float64).T.reshape(len(tiles), len(parameters))
    return points


def _places(values: Sequence[Value]) -> list[float]:
    if any(isinstance(value, str) for value in values):
        places = [float(place) for place in range(len(values))]
    else:
        places = [float(np.log2(value)) if value > 0 else -1.0 for value in values if not isinstance(value, str)]
    low, span = min(places), (max(places) - min(places)) or 1.0
    return [(place - low) / span for place in places]
