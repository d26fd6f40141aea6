"""Many images and many devices, on Dask: the only room that imports dask, distributed and pyarrow."""

from __future__ import annotations

from clprune.errors import MissingDependencyError

try:
    import distributed as _distributed  # noqa: F401  # imported to turn its absence into one clear error
    import pyarrow as _pyarrow  # noqa: F401  # likewise
except ImportError as error:
    raise MissingDependencyError(
        f"several workers need packages that cannot be imported ({error}); install them with: "
        "pip install 'clprune[distributed]'"
    ) from error

from clprune.distributed.evaluate import evaluate
from clprune.distributed.images import detect_images, map_images
from clprune.distributed.tune import tune

__all__ = ["detect_images", "evaluate", "map_images", "tune"]
