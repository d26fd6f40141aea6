"""Models from ONNX files and into them: the only room that imports onnx and ONNX Runtime."""

from __future__ import annotations

from clprune.errors import MissingDependencyError

try:
    import onnx as _onnx  # noqa: F401  # imported to turn its absence into one clear error
    import onnxruntime as _onnxruntime  # noqa: F401  # likewise
except ImportError as error:
    raise MissingDependencyError(
        f"ONNX files need packages that cannot be imported ({error}); install them with: pip install clprune[onnx]"
    ) from error
