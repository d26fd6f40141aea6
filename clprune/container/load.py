"""One door for files of weights: darknet's `.weights` and packed `.safetensors`, told apart by the suffix."""

from __future__ import annotations

from pathlib import Path

from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights, write_weights
from clprune.errors import WeightsError

PACKED_SUFFIX = ".safetensors"
DARKNET_SUFFIX = ".weights"


def default_weights(cfg: str | Path) -> Path:
    """Where the weights of a cfg are when nobody says so: beside it, of the same stem.

    That is the `.weights` file, or the `.safetensors` file where there is only that one.
    """
    darknet, packed = (Path(cfg).with_suffix(suffix) for suffix in (DARKNET_SUFFIX, PACKED_SUFFIX))
    return packed if packed.exists() and not darknet.exists() else darknet


def load_weights(path: str | Path | None, network: Network) -> Weights:
    """Read the weights of `network`: from `path`, or beside its cfg where that is None.

    A file with the suffix `.safetensors` is a packed container, any other is darknet's. Raises WeightsError.
    """
    if path is None:
        path = default_weights(network.path)
        if not path.exists():
            raise WeightsError(
                f"no such file: expected the weights beside {network.path.name} (as {DARKNET_SUFFIX} or "
                f"{PACKED_SUFFIX}), or their path",
                path=path,
            )
    if not is_packed(path):
        return read_weights(path, network)
    from clprune.container.read import read_packed  # here: plain weights start sooner without it

    return read_packed(path, network)


def save_weights(path: str | Path, network: Network, weights: Weights) -> None:
    """Write what `load_weights` reads, in the format that the suffix of `path` names.

    Raises what `write_packed` and `write_weights` raise.
    """
    if is_packed(path):
        from clprune.container.write import write_packed

        write_packed(path, network, weights)
    else:
        write_weights(path, network, weights)


def is_packed(path: str | Path) -> bool:
    """Whether a path names a packed container."""
    return Path(path).suffix.lower() == PACKED_SUFFIX
