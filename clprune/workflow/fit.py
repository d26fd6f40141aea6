"""`fit`: a model under so many milliseconds on this device, with the least loss, and the proof of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clprune.container.model import FileFormat, Model, load_model, model_targets, output_path
from clprune.darknet.network import Network
from clprune.dataset import DataSet
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress, Progress
from clprune.tiles.store import Store, open_store
from clprune.workflow.inputs import Data, Device, ModelLike, as_model, data_name, load_splits, opened
from clprune.workflow.proof import Proof, agreement, prove, times

if TYPE_CHECKING:
    from clprune.fitting.apply import Applied
    from clprune.fitting.table import Entry, Selection, Table
    from clprune.training import Recipe
    from clprune.training.refit import Reference

#: A budget is kept where no more than this share is missing.
TOLERANCE = 0.03

#: Selections that are tried on the device before a budget is given up.
ATTEMPTS = 3

#: Weighings of losses by which selections are found that the whole network's answer decides between.
TRIES = 20

#: Budgets between the fastest and the dense network by which the least that loses little enough is found.
HALVINGS = 6

#: Ways of a layer that are told beside the one chosen.
RUNNERS_UP = 3


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """What was chosen for a layer, the share of its channels that stay, and the ways no slower that lose least.

    Milliseconds are those with the channels that stay.
    """

    layer: int
    kind: str
    chosen: Entry
    channels_kept: float
    runners_up: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        others = [entry.to_dict() for entry in self.runners_up]
        facts = {"layer": self.layer, "kind": self.kind, "channels_kept": self.channels_kept}
        return {**facts, **self.chosen.to_dict(), "runners_up": others}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The fitted `model`, what was promised and what the device measured.

    `budget_ms` is the budget beside the dense time of `proof`, None where points were asked for. `dense_table_ms` is
    the dense network's time when the table was measured, `calibration_error` the largest relative one of sums there.
    `divergence` is that of the answers before retraining (`clprune.training.refit.Refitted`). `is_met`: the budget is
    kept within `TOLERANCE`, or no more points are lost than allowed.
    """

    model: Model
    data: str
    device: DeviceInfo
    budget_ms: float | None
    most_loss: float | None
    promised_ms: float
    dense_table_ms: float
    calibration_error: float
    divergence: float
    losses: tuple[float, ...]
    proof: Proof
    layers: tuple[LayerChoice, ...]
    attempts: int
    is_met: bool
    written: tuple[Path, Path] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        own = (
            *("data", "budget_ms", "most_loss", "promised_ms", "dense_table_ms"),
            *("calibration_error", "divergence", "attempts", "is_met"),
        )
        files = {} if self.written is None else {"cfg": str(self.written[0]), "weights": str(self.written[1])}
        return {
            **files, **self.device.facts, **{name: getattr(self, name) for name in own}, "losses": list(self.losses),
            **asdict(self.proof), "points_lost": self.proof.points_lost,
            "speed_up": self.proof.dense_ms / self.proof.fitted_ms, "layers": [one.to_dict() for one in self.layers],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked for: milliseconds, how many times faster than the dense network, or at most so many points lost."""

    budget_ms: float | None = None
    speed_up: float | None = None
    most_loss: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise UsageError(f"{found}: expected one of budget_ms, speed_up and most_loss")
        ((name, value),) = given.items()
        least = 1 if name == "speed_up" else 0
        if not value > least:
            raise UsageError(f"{name} {value:g}: expected more than {least}")

    def budget(self, dense_ms: float) -> float:
        """Milliseconds beside a dense network that takes `dense_ms`; as many where only loss counts."""
        return self.budget_ms if self.budget_ms is not None else dense_ms / (self.speed_up or 1)


def fit(
    model: ModelLike,
    *,
    budget_ms: float | None = None,
    speed_up: float | None = None,
    most_loss: float | None = None,
    weights: str | Path | None = None,
    data: Data,
    held_out: Data | None = None,
    count: int | None = None,
    batch: int | None = None,
    methods: Sequence[str] | None = None,
    bits: Sequence[int] = (),
    epochs: int = 0,
    learning_rate: float = 0.02,
    recipe: Recipe | None = None,
    tune_s: float = 300.0,
    tries: int = TRIES,
    seed: int = 0,
    out: str | Path | None = None,
    image_options: ImageOptions | None = None,
    device: Device = None,
    progress: OnProgress | None = None,
) -> FitResult:
    """Make a trained model as fast as asked on a device with the least loss, and measure what came of it.

    One of `budget_ms` (milliseconds of an inference), `speed_up` (over the dense network) and `most_loss` (percentage
    points of accuracy, of agreement without labels) says how fast; the other settings are those of `fit_all`.

    >>> dense = clprune.train("small.cfg", data="synthetic", count=128).model
    >>> result = clprune.fit(dense, data="synthetic", count=64, most_loss=100, methods=("workgroup",), tune_s=0)
    >>> result.is_met, result.proof.fitted_ms > 0
    (True, True)
    """
    target = Target(budget_ms=budget_ms, speed_up=speed_up, most_loss=most_loss)
    (result,) = fit_all(
        model, targets=[target], weights=weights, data=data, held_out=held_out, count=count, batch=batch,
        methods=methods, bits=bits, epochs=epochs, learning_rate=learning_rate, recipe=recipe, tune_s=tune_s,
        tries=tries, seed=seed, out=out, image_options=image_options, device=device, progress=progress,
    )  # fmt: skip
    return result


def fit_all(
    model: ModelLike,
    *,
    targets: Sequence[Target],
    weights: str | Path | None = None,
    data: Data,
    held_out: Data | None = None,
    count: int | None = None,
    batch: int | None = None,
    methods: Sequence[str] | None = None,
    bits: Sequence[int] = (),
    epochs: int = 0,
    learning_rate: float = 0.02,
    recipe: Recipe | None = None,
    tune_s: float = 300.0,
    tries: int = TRIES,
    seed: int = 0,
    out: str | Path | None = None,
    image_options: ImageOptions | None = None,
    device: Device = None,
    progress: OnProgress | None = None,
) -> tuple[FitResult, ...]:
    """`fit` for each of the `targets`, by one table of times and losses.

    Every layer is timed in every way that the `methods` offer (by default `clprune.fitting.kinds.METHODS`), its weights
    in float32 or in one of `bits` (16: float16, 8: int8, 4: a codebook), on `device` for `batch` images at once, with
    up to `tune_s` seconds of tuning where tiles are missing, and judged by what the network's answer to images of
    `data` loses when it alone is pruned and what stays is fitted. The best selection is
    searched among `tries`, tried on the device, and retrained for `epochs` from the dense network's answers, and
    labels where there are some (or by `recipe`). PREFIX.cfg and its weights are written for `out`, packed where
    there are `bits` or methods of the Winograd domain, of several targets PREFIX-1 and so on; PREFIX.fit.json keeps the
    table and PREFIX.fit.checkpoint a retraining, by which a run that was killed goes on and another target costs
    little. Raises UsageError for targets that cannot be reached, and what `prune` raises.
    """
    from clprune.fitting.kinds import METHODS, kinds_of
    from clprune.fitting.stored import check_bits

    coded = check_bits(bits)
    kinds = kinds_of(tuple(METHODS if methods is None else methods))
    if weights is not None and not isinstance(model, Model):
        dense = load_model(model, weights, batch=1 if batch is None else batch)
    else:
        dense = as_model(model, batch=batch)
    # known before anything is measured, so that what stands there already is refused now
    is_packed = bool(coded) or any(kind.settings(0.5).winograd is not None for kind in kinds)
    file_format: FileFormat = "packed" if is_packed else "darknet"
    prefixes = [out if out is None or len(targets) == 1 else f"{out}-{number}" for number in range(1, len(targets) + 1)]
    for prefix in prefixes:
        if prefix is not None:
            model_targets(prefix, file_format=file_format, sources=dense.files)
    images, test = load_splits(
        data, dense.network, held_out=held_out, seed=seed, count=count, image_options=image_options,
        names_file=dense.names_file, progress=progress,
    )  # fmt: skip
    if test is None:
        raise UsageError("no held-out images to measure the loss on: expected held_out beside such data")
    with opened(device) as session, open_store(to_write=True) as store:
        fitting = _Fitting(
            dense=dense, images=images, held_out=test, data=data_name(data), session=session, store=store, seed=seed,
            recipe=_recipe(dense.network, recipe, images, epochs=epochs, learning_rate=learning_rate, seed=seed),
            tries=tries, tune_s=tune_s, progress=progress, out=out, file_format=file_format,
        )  # fmt: skip
        fitting.build(kinds, coded)
        for target in targets:
            fitting.check(target)
        return tuple(fitting.reach(target, prefix) for target, prefix in zip(targets, prefixes, strict=True))


def _recipe(
    network: Network, given: Recipe | None, images: DataSet, *, epochs: int, learning_rate: float, seed: int
) -> Recipe | None:
    """By the dense network's answers, and by labels as much where there are some; None where nothing is retrained."""
    from clprune.training import Recipe
    from clprune.training.recipe import usual_batch

    if given is not None or epochs == 0:
        return given
    share = 0.5 if images.is_labelled else 1.0
    batch = usual_batch(network)
    return Recipe(epochs=epochs, learning_rate=learning_rate, batch=batch, distillation=share, seed=seed)


@dataclass(kw_only=True)
class _Fitting:
    """The way from a table to a model that was proved."""

    dense: Model
    images: DataSet
    held_out: DataSet
    data: str
    session: Session
    store: Store
    seed: int
    recipe: Recipe | None
    tries: int
    tune_s: float
    progress: OnProgress | None
    out: str | Path | None
    file_format: FileFormat

    def build(self, kinds: tuple[Any, ...], bits: tuple[int, ...]) -> None:
        """Measure the table, or what its record lacks."""
        self.ways = ", ".join(map(str, (*kinds, *bits)))
        from clprune.fitting.apply import Applier
        from clprune.fitting.build import Builder
        from clprune.fitting.record import Record, images_hash, model_hash
        from clprune.training.refit import Reference, calibration_images

        info = self.session.info
        self.calibration = calibration_images(self.dense.network, self.images)
        facts = {
            "model": model_hash(self.dense), "batch": self.dense.network.batch, "data": self.data, "seed": self.seed,
            "images": len(self.images), "pictures": images_hash(self.calibration), **info.facts,
        }  # fmt: skip
        path = None if self.out is None else output_path(self.out, ".fit.json")
        self.record = Record(path, facts=facts, layers=[layer.index for layer in self.dense.network.matrix_layers])
        self.reference: Reference = Reference(self.dense.network, self.dense.weights, self.calibration)
        self.table: Table = Builder(
            model=self.dense, session=self.session, store=self.store, reference=self.reference, record=self.record,
            kinds=kinds, bits=bits, tune_s=self.tune_s, progress=self.progress,
        ).table()  # fmt: skip
        self._apply = Applier(table=self.table, model=self.dense, reference=self.reference, images=self.calibration)

    def check(self, target: Target) -> None:
        """Raise UsageError for a budget that no choice reaches by the table."""
        from clprune.fitting.choice import fastest_ms

        least_ms, dense_ms = fastest_ms(self.table), self._dense_ms
        if target.most_loss is None and target.budget(dense_ms) < least_ms:
            raise UsageError(
                f"{target.budget(dense_ms):.3g} ms on {self.session.info.name} cannot be reached: the dense network "
                f"takes {dense_ms:.3g} ms, the fastest choice about {least_ms:.3g} ms; expected at least that, or more "
                "--methods"
            )

    def reach(self, target: Target, prefix: str | Path | None) -> FitResult:
        """Select, try on the device, retrain, prove, write."""
        from clprune.fitting.stored import stored

        chosen = self.record.get("chosen", f"{target} {self.ways} {self.tries}", lambda: self._chosen(target))
        try:
            selection, attempts = self.table.named(chosen["name"]), int(chosen["attempts"])
        except UsageError as error:
            raise self.record.refused(f"chosen: {error}") from error
        applied = self._apply(selection)
        trained, losses = self._retrained(applied, prefix)
        model = stored(trained, applied.bits)
        proof = prove(self.session, self.dense, model, self.held_out)
        budget = None if target.most_loss is not None else target.budget(proof.dense_ms)
        allowed = proof.points_lost <= target.most_loss if target.most_loss is not None else True
        result = FitResult(
            model=model,
            data=self.data,
            device=self.session.info,
            budget_ms=budget,
            most_loss=target.most_loss,
            promised_ms=self.table.time_ms(applied.selection),
            dense_table_ms=self._dense_ms,
            calibration_error=self.table.calibration.error,
            divergence=applied.divergence,
            losses=losses,
            proof=proof,
            layers=self._layers(applied.selection),
            attempts=attempts,
            is_met=allowed and (budget is None or proof.fitted_ms <= budget * (1 + TOLERANCE)),
        )
        return self._written(result, prefix)

    def _chosen(self, target: Target) -> dict[str, Any]:
        """What is selected and holds on the device, for the record: a retraining that was killed needs the same."""
        from clprune.fitting.choice import fastest_ms
        from clprune.fitting.stored import stored

        promised_for = self._budget(target)
        for attempt in range(1, ATTEMPTS + 1):
            applied = self._best(promised_for)
            dense_ms, fitted_ms = self._try(stored(applied.model, applied.bits))
            budget_ms = target.budget(dense_ms)
            is_in_time = target.most_loss is not None or fitted_ms <= budget_ms * (1 + TOLERANCE)
            below_ms = promised_for * budget_ms / fitted_ms
            if is_in_time or attempt == ATTEMPTS or below_ms < fastest_ms(self.table):
                break
            promised_for = below_ms
        return {"name": self.table.name(applied.selection), "attempts": attempt}

    @property
    def _dense_ms(self) -> float:
        return float(self.record.known("times", "dense")["whole_ms"])

    def _budget(self, target: Target) -> float:
        """Milliseconds to select for: those asked for, or the fewest by which no more than allowed is lost."""
        from clprune.fitting.choice import choose, fastest_ms

        least_ms, dense_ms = fastest_ms(self.table), self._dense_ms
        if target.most_loss is None:
            return target.budget(dense_ms)
        low, high = least_ms, dense_ms
        for number in range(HALVINGS):
            self._tell("search", number, HALVINGS)
            middle = (low + high) / 2
            selection = choose(self.table, budget_ms=middle)
            is_good = selection is not None and self._points_lost(selection) <= target.most_loss
            low, high = (low, middle) if is_good else (middle, high)
        return high

    def _points_lost(self, selection: Selection) -> float:
        """Of agreement with the dense network on the images that layers are fitted on."""
        from clprune.fitting.stored import stored

        applied = self._judged(selection)
        fitted = stored(applied.model, applied.bits)
        return 100 * (1 - agreement(self.session, self.dense, fitted, self.calibration))

    def _best(self, budget_ms: float) -> Applied:
        from clprune.fitting.choice import search

        tried = 0

        def evaluate(selection: Selection) -> float:
            nonlocal tried
            self._tell("search", tried, self.tries)
            tried += 1
            return float(
                self.record.get("answers", self.table.name(selection), lambda: self._judged(selection).divergence)
            )

        found = search(self.table, budget_ms=budget_ms, evaluate=evaluate, tries=self.tries, seed=self.seed)
        if found is None:
            raise UsageError(f"no choice takes {budget_ms:.3g} ms by the table: expected a longer budget")
        return self._apply(found[0])

    def _judged(self, selection: Selection) -> Applied:
        """What the selection makes of the model, near enough to be judged: every layer fitted as if it were alone."""
        return self._apply(selection, is_quick=True)

    def _try(self, model: Model) -> tuple[float, float]:
        """(dense ms, fitted ms) in turns, with tiles for what the model has become."""
        from clprune.fitting.times import tune_missing
        from clprune.workflow.tune import refine_in_network

        self._tell("tuning", 0, 1)
        if tune_missing(self.session, self.store, model, budget_s=self.tune_s):
            refine_in_network(self.session, self.store, model.network, model.weights, effort="quick")
        return times(self.session, self.dense, model)

    def _retrained(self, applied: Applied, prefix: str | Path | None) -> tuple[Model, tuple[float, ...]]:
        from clprune.training import Teacher, train

        if self.recipe is None:
            return applied.model, ()
        checkpoint = None if prefix is None else output_path(prefix, ".fit.checkpoint")
        trained = train(
            applied.model.network,
            self.images,
            self.recipe,
            weights=applied.model.weights,
            masks=applied.masks,
            teacher=Teacher(network=self.dense.network, weights=self.dense.weights),
            checkpoint=checkpoint,
            report=self.progress,
        )
        return replace(applied.model, weights=trained.weights), trained.losses

    def _written(self, result: FitResult, prefix: str | Path | None) -> FitResult:
        if prefix is None:
            return result
        written = result.model.save(prefix, file_format=self.file_format)
        output_path(prefix, ".fit.checkpoint").unlink(missing_ok=True)
        return replace(result, written=written)

    def _layers(self, selection: Selection) -> tuple[LayerChoice, ...]:
        kept, factors = self.table.kept(selection.channels), self.table.factors(selection.channels)
        choices = []
        for index, place in selection.entries.items():
            layer, thin = self.dense.network.layers[index], factors[index]
            entries = [replace(entry, time_ms=entry.time_ms * thin) for entry in self.table.entries[index]]
            others = sorted((entry for entry in entries if entry is not entries[place]), key=lambda one: one.loss)
            choices.append(
                LayerChoice(
                    layer=index,
                    kind=str(layer),
                    chosen=entries[place],
                    channels_kept=kept.get(index, layer.output.channels) / layer.output.channels,
                    runners_up=tuple([one for one in others if one.time_ms <= entries[place].time_ms][:RUNNERS_UP]),
                )
            )
        return tuple(choices)

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(Progress(stage=stage, done=done, total=total, place=f"{done + 1}/{total}"))
