"""The pruned networks of a comparison on the disk: a cfg, and darknet's weights file compressed by gzip.

Weights in the Winograd domain, which darknet's file cannot hold, lie in a packed container instead.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clprune.container.read import read_packed
from clprune.container.write import write_packed
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights, write_weights
from clprune.errors import DataError
from clprune.files import write_atomically

GZIP_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """Where a run's network lies: `folder/name.cfg` and `folder/name.weights.gz` (gunzip makes darknet's file), or
    `folder/name.safetensors`.
    """

    folder: Path
    name: str

    @property
    def cfg(self) -> Path:
        return self.folder / f"{self.name}.cfg"

    @property
    def weights(self) -> Path:
        return self._packed if self._packed.exists() else self.folder / f"{self.name}.weights.gz"

    @property
    def _packed(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def write(self, cfg_text: str, network: Network, weights: Weights) -> None:
        """Write both files. Raises FileError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(values is not None and values.winograd is not None for values in weights.layers):
            write_packed(self._packed, network, weights)
            write_atomically(self.cfg, cfg_text)
            return
        with tempfile.TemporaryDirectory() as temporary:
            plain = Path(temporary) / "plain.weights"
            write_weights(plain, network, weights)
            compressed = gzip.compress(plain.read_bytes(), compresslevel=GZIP_LEVEL, mtime=0)
        write_atomically(self.weights, compressed)
        write_atomically(self.cfg, cfg_text)

    def read(self, *, batch: int = 1) -> tuple[Network, Weights]:
        """Read both files. Raises CfgError, WeightsError, and DataError where one is missing or damaged."""
        network = load_network(self.cfg, batch=batch)
        if self._packed.exists():
            return network, read_packed(self._packed, network)
        with tempfile.TemporaryDirectory() as temporary:
            plain = Path(temporary) / "plain.weights"
            try:
                plain.write_bytes(gzip.decompress(self.weights.read_bytes()))
            except (OSError, EOFError) as error:
                raise DataError(f"expected weights compressed by gzip ({error})", path=self.weights) from error
            return network, read_weights(plain, network)


def convolution_weights(network: Network, weights: Weights) -> tuple[int, int]:
    """(weights of all convolutions that are not zero, all of them)."""
    kept = total = 0
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if values is not None and isinstance(layer, Convolutional):
            kept += int(np.count_nonzero(values.weights))
            total += values.weights.size
    return kept, total
