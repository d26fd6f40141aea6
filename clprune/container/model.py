"""`Model`: a network with its weights, as it is loaded, run, changed and saved."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from clprune.container.load import DARKNET_SUFFIX, PACKED_SUFFIX, default_weights, load_weights, save_model_files
from clprune.darknet.cfg import CfgWarning
from clprune.darknet.dialect import ToldDialect
from clprune.darknet.names import read_names
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.errors import DataError, FileError, UsageError
from clprune.files import check_writable, write_atomically

FileFormat = Literal["darknet", "packed"]

#: What PREFIX may end with, and nothing is added to.
MODEL_SUFFIXES = (DARKNET_SUFFIX, ".cfg", PACKED_SUFFIX)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A network with its weights.

    `names_path` is a file of class names, one per line; by default that beside the weights or the cfg.
    `cfg_text` is what `save` writes as cfg; without it that is the text of `path` with the network's prune options.
    `weights_path` is the file that the weights were read from, None for others. `class_names` are names that are in no
    file yet; they come before those of a file.
    """

    network: Network
    weights: Weights
    weights_path: Path | None = None
    names_path: Path | None = None
    cfg_text: str | None = None
    class_names: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The cfg that the network was read from."""
        return self.network.path

    @property
    def files(self) -> tuple[Path, ...]:
        """What the model was read from."""
        return (self.path,) if self.weights_path is None else (self.path, self.weights_path)

    @property
    def text(self) -> str:
        """The text of its cfg. Raises CfgError where `path` is gone and there is no `cfg_text`."""
        if self.cfg_text is not None:
            return self.cfg_text
        from clprune.darknet.rewrite import annotate_cfg

        chosen = {layer.index: getattr(layer, "prune", None) for layer in self.network.layers}
        return annotate_cfg(self.path, {index: options for index, options in chosen.items() if options is not None})

    @property
    def names_file(self) -> Path | None:
        """The file of the class names, None without one."""
        if self.names_path is not None:
            return self.names_path
        beside = (path.with_suffix(".names") for path in reversed(self.files))
        return next((path for path in beside if path.exists()), None)

    @property
    def dialect(self) -> ToldDialect:
        """The fork of darknet whose rules hold: as the cfg tells, else the header of the file of weights."""
        return self.network.dialect

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names by index, numbers where no file names them. Raises DataError."""
        return self.first_names(self.network.classes)

    def first_names(self, count: int) -> tuple[str, ...]:
        """The same for `count` classes, with names beyond them where the file has more. Raises DataError for fewer."""
        path = self.names_file
        if self.class_names:
            return self.class_names
        if path is None:
            return tuple(str(index) for index in range(count))
        found = read_names(path)
        if len(found) < count:
            what = "outputs" if self.network.classes == self.network.outputs else "classes"
            raise DataError(f"{len(found)} names: expected at least {count}, the network's {what}", path=path)
        return found

    def save(self, prefix: str | Path, *, file_format: FileFormat = "darknet") -> tuple[Path, Path]:
        """Write PREFIX.cfg and the weights beside it, which it names, both or none, and return their paths.

        The weights are PREFIX.weights, which darknet reads, or "packed" the smaller PREFIX.safetensors, which alone
        holds weights in the Winograd domain and codes. Raises UsageError and FileError as `model_targets` does.

        >>> model = clprune.load_model("model.cfg")
        >>> [path.name for path in model.save("copy", file_format="packed")]
        ['copy.cfg', 'copy.safetensors']
        """
        cfg, weights = model_targets(prefix, file_format=file_format)
        text, names = self.text, cfg.with_suffix(".names")
        if self.dialect.is_wanted:
            from clprune.darknet.rewrite import with_dialect

            text = with_dialect(text, self.dialect.name)
        if self.class_names or self.names_file not in (None, names):
            found = self.class_names or read_names(self.names_file or names)
            write_atomically(names, "".join(f"{name}\n" for name in found))
        save_model_files(cfg, weights, text=text, network=self.network, weights=self.weights)
        return cfg, weights


def load_model(
    cfg: str | Path,
    weights: str | Path | None = None,
    *,
    names: str | Path | None = None,
    batch: int = 1,
    dialect: str | None = None,
) -> Model:
    """Read a darknet cfg with its weights, `.weights` or `.safetensors`; by default those of the same stem beside it.

    `names` is a file of class names, one per line; by default that beside the weights or the cfg. `batch` images will
    run at once; `dialect` as in `load_network`. Raises CfgError, UnsupportedLayerError, WeightsError.

    >>> model = clprune.load_model("model.cfg", "model.weights")
    >>> str(model.network.input), model.network.outputs, model.names[:3]
    ('3x32x32', 10, ('0', '1', '2'))
    """
    network = load_network(cfg, batch=batch, dialect=dialect)
    weights_path = default_weights(cfg) if weights is None else Path(weights)
    values = load_weights(weights, network)
    return Model(
        network=_told_by_header(network, values),
        weights=values,
        weights_path=weights_path,
        names_path=None if names is None else Path(names),
    )


def _told_by_header(network: Network, weights: Weights) -> Network:
    """The network as the fork reads it that the header of its weights tells, where the cfg does not."""
    if not weights.has_header:
        return network
    told = network.dialect.with_header((weights.major, weights.minor, weights.revision))
    if told.name != network.dialect.name:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)  # they were given before
            network = load_network(network.path, batch=network.batch, dialect=told.name)
    return replace(network, dialect=told)


def output_name(prefix: str | Path, suffix: str) -> Path:
    """PREFIX with `suffix`, whether or not PREFIX came with one. Raises FileError for a PREFIX that has no name."""
    path = Path(prefix)
    if path.name in ("", ".."):
        raise FileError("cannot be written: expected a name, to which suffixes are added", path=path)
    stem = path.with_suffix("") if path.suffix in MODEL_SUFFIXES else path
    return stem.with_name(stem.name + suffix)


def output_path(prefix: str | Path, suffix: str) -> Path:
    """What `output_name` gives. Raises FileError when it could not be written."""
    return check_writable(output_name(prefix, suffix))


def model_targets(
    prefix: str | Path, *, file_format: FileFormat = "darknet", sources: Sequence[str | Path] = ()
) -> tuple[Path, Path]:
    """(cfg, weights) of PREFIX to write, which must not be among the `sources` that are read.

    Raises UsageError for one that is, and for packed weights beside darknet's, which would be loaded in their place;
    FileError when they, or class names beside them, could not be written.
    """
    suffix = PACKED_SUFFIX if file_format == "packed" else DARKNET_SUFFIX
    cfg, weights = (check_writable(output_name(prefix, ending), sources=sources) for ending in (".cfg", suffix))
    output_path(prefix, ".names")
    darknet = weights.with_suffix(DARKNET_SUFFIX)
    if darknet != weights and darknet.exists():
        raise UsageError(
            f"{prefix}: {darknet} would be loaded in place of {weights.name}; remove it, or use another PREFIX"
        )
    return cfg, weights
