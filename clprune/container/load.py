"""One door for files of weights: darknet's `.weights` and packed `.safetensors`, told apart by the suffix."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clprune.container.pair import check_pair, names_weights, save_pair
from clprune.darknet.cfg import read_cfg_text
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.darknet.weights import encode_weights, read_weights
from clprune.errors import WeightsError
from clprune.files import atomic_writer

PACKED_SUFFIX = ".safetensors"
DARKNET_SUFFIX = ".weights"


def default_weights(cfg: str | Path) -> Path:
    """Where the weights of a cfg are when nobody says so: beside it, of the same stem.

    That is the `.weights` file, or the `.safetensors` file where there is only that one.
    """
    stem, _ = os.path.splitext(Path(cfg))  # noqa: PTH122  # of "." as well, which has no name
    darknet, packed = (Path(stem + suffix) for suffix in (DARKNET_SUFFIX, PACKED_SUFFIX))
    return packed if packed.exists() and not darknet.exists() else darknet


def load_weights(path: str | Path | None, network: Network, *, allow_truncated: bool = False) -> Weights:
    """Read the weights of `network`: from `path`, or beside its cfg where that is None.

    A file with the suffix `.safetensors` is a packed container, any other is darknet's, which with `allow_truncated`
    may hold the first layers alone. Raises WeightsError, also where the file is not the one that the cfg was written
    with.
    """
    if path is None:
        path = default_weights(network.path)
        if not path.exists():
            raise WeightsError(
                f"no such file: expected the weights beside {network.path.name} (as {DARKNET_SUFFIX} or "
                f"{PACKED_SUFFIX}), or their path",
                path=path,
            )
    check_pair(network.path, Path(path))
    if not is_packed(path):
        return read_weights(path, network, allow_truncated=allow_truncated)
    from clprune.container.read import read_packed  # here: plain weights start sooner without it

    return read_packed(path, network)


def save_weights(path: str | Path, network: Network, weights: Weights) -> None:
    """Write what `load_weights` reads, in the format that the suffix of `path` names.

    The cfg that the network was read from names them from now on if it is of the same stem and named others. Raises
    what `save_model_files` raises.
    """
    cfg, path = network.path, Path(path)
    if path.with_suffix(".cfg").resolve() == cfg.resolve() and names_weights(cfg):
        save_model_files(cfg, path, text=read_cfg_text(cfg), network=network, weights=weights)
    else:
        with atomic_writer(path) as file:
            file.writelines(_content(path, network, weights))


def save_model_files(cfg: Path, path: Path, *, text: str, network: Network, weights: Weights) -> None:
    """Write a cfg of this `text` and its weights, both or none. Raises FileError, and WeightsError for weights that are
    missing, of another shape or not finite.
    """
    save_pair(cfg, path, text=text, content=_content(path, network, weights))


def _content(path: Path, network: Network, weights: Weights) -> Iterable[bytes | memoryview]:
    """What to write, in the format that the suffix of `path` names."""
    if not is_packed(path):
        return encode_weights(path, network, weights)
    from clprune.container.write import encode_packed

    return [encode_packed(path, network, weights)]


def is_packed(path: str | Path) -> bool:
    """Whether a path names a packed container."""
    return Path(path).suffix.lower() == PACKED_SUFFIX
