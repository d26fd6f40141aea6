"""Forms of VGG16 that are compared: single weights removed, fewer bits, both; made once and kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clprune.container.load import PACKED_SUFFIX
from clprune.container.model import Model
from clprune.darknet.cfg import read_cfg_text
from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import QuantizeSettings, quantize_network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.files import write_atomically
from clprune.kernels.storage import CODEBOOK4, CODEBOOK8, FLOAT16, FLOAT32, INT8
from clprune.kernels.workload import WeightForm, Workload
from clprune.opencl import Session
from clprune.plan.forms import rounded_share
from clprune.pruning.network import prunable_layers, prune_random, with_prune_options
from clprune.pruning.settings import PruneSettings
from clprune.runner import Runner
from clprune.runner.calibration import activation_scales
from clprune.unit import Unit
from tools.bench.models import reference_answer
from tools.bench.serve import FloatArray

CONNECTED_INPUT = "[net]\nheight=7\nwidth=7\nchannels=512\n\n"


@dataclass(frozen=True, kw_only=True)
class Form:
    """`sparsity` of the weights of every layer but the first convolution are removed in columns of `unit_rows`, one by
    one where that is 1; `settings` say how the rest is coded (None: float32); with `activations` layers' inputs are
    too. `algorithms` may compute it.
    """

    name: str
    sparsity: float = 0.0
    unit_rows: int = 1
    settings: QuantizeSettings | None = None
    activations: bool = False
    algorithms: tuple[str, ...] = ("direct", "winograd", "sparse")

    @property
    def weights_name(self) -> str:
        """The same for forms that run the same weights."""
        parts = ["dense"]
        if self.sparsity:
            parts = [f"{'unstructured' if self.unit_rows == 1 else f'columns{self.unit_rows}-'}{100 * self.sparsity:g}"]
        if self.settings is not None:
            parts.append(f"{self.settings.scheme}{self.settings.bits}{'a' if self.activations else ''}")
        return "-".join(parts)

    def weight_forms(self, network: Network) -> dict[int, WeightForm]:
        """What `weights_forms` would find, by layer index."""
        convolutions, connected = prunable_layers(network)
        pruned = {layer.index for layer in (*convolutions, *connected)} if self.sparsity else set()
        workload = Workload(kept_share=rounded_share(1 - self.sparsity), unit_rows=self.unit_rows)
        return {
            layer.index: WeightForm(
                workload=workload if layer.index in pruned else Workload(),
                storage=self._storage,
                quantizes_input=self.activations,
            )
            for layer in network.matrix_layers
        }

    @property
    def _storage(self) -> str:
        if self.settings is None:
            return FLOAT32
        stored = {"linear": INT8, "codebook": CODEBOOK4 if self.settings.bits == 4 else CODEBOOK8, "half": FLOAT16}
        return stored[self.settings.scheme]


def write_part(cfg: Path, part: str, folder: Path) -> Path:
    """Write the cfg of VGG16's `convolutions`, its `connected` layers, or all of it (`whole`), for a batch of one."""
    text = read_cfg_text(cfg)
    first = text.index("[connected]")
    parts = {"convolutions": text[:first], "connected": CONNECTED_INPUT + text[first:], "whole": text}
    path = folder / f"{cfg.stem}-{part}.cfg"
    write_atomically(path, parts[part])
    return path


def make_form(session: Session, dense: Model, form: Form, *, seed: int) -> Model:
    """The form of a `dense` model. Scales of activations come from one random image."""
    network, weights = dense.network, dense.weights
    if form.sparsity:
        unit = Unit(rows=form.unit_rows)
        settings = PruneSettings(
            method="unstructured" if form.unit_rows == 1 else "workgroup",
            sparsity=form.sparsity,
            fc_sparsity=form.sparsity,
            unit_for_layer=lambda layer: unit,
        )
        weights, plan = prune_random(network, weights, settings)
        network = with_prune_options(network, plan)
    if form.settings is not None:
        scales = None
        if form.activations:
            with Runner(network, weights, session=session, keep_tensors=True) as runner:
                scales = activation_scales(runner, [random_images(network, seed=seed)], share=1.0)
        weights = quantize_network(network, weights, form.settings, activation_scales=scales)
    return Model(network=network, weights=weights)


def keep_forms(
    session: Session, cfg: Path, forms: Sequence[Form], *, seed: int, with_answers: bool
) -> dict[str, tuple[Path, FloatArray]]:
    """The cfg (with weights beside it) and the right answer (float64, of the decoded weights) by the name of the
    weights, made where missing. Without answers an empty array stands for each.
    """
    network = load_network(cfg)
    kept = {}
    dense: Model | None = None
    for form in forms:
        path = cfg.with_name(f"{cfg.stem}-{form.weights_name}-{seed}.cfg")
        if not path.with_suffix(PACKED_SUFFIX).exists():
            dense = dense or Model(network=network, weights=random_weights(network, seed=seed))
            make_form(session, dense, form, seed=seed).save(path, file_format="packed")
        answer = np.empty(0, np.float32)
        if with_answers:
            known = path.with_suffix(".npy")
            if not known.exists():
                np.save(known, reference_answer(path, random_images(network, seed=seed)))
            answer = np.load(known)
        kept[form.weights_name] = path, answer
    return kept
