"""The way from a dense model to fitted ones: a table of times and losses, the choice by it, the proof on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clprune.container.model import FileFormat, Model, model_targets, output_name, output_path
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress, Progress
from clprune.tiles.store import Store, open_store
from clprune.workflow.fit_result import TOLERANCE, FitResult, LayerChoice, Target
from clprune.workflow.inputs import Data, Device, ModelLike, as_model, data_name, load_splits, opened
from clprune.workflow.proof import agreement, prove, times

if TYPE_CHECKING:
    from clprune.fitting.apply import Applied, Applier
    from clprune.fitting.kinds import Kind
    from clprune.fitting.record import Record
    from clprune.fitting.table import Selection, Table
    from clprune.training import Recipe

#: What PREFIX ends with where a retraining is kept.
_CHECKPOINT = ".fit.checkpoint"

#: Selections that are tried on the device before a budget is given up.
ATTEMPTS = 3

#: The share of a budget that a selection may leave unused: where it takes less time than was expected, one that loses
#: less is tried.
UNUSED = 0.04

#: Weighings of losses by which selections are found that the whole network's answer decides between.
TRIES = 20

#: Multiplications of one run of the images that judge, up to which a choice is judged as it will be fitted.
MOST_CLOSE = 5e10

#: Budgets between the fastest and the dense network by which the least that loses little enough is found.
HALVINGS = 6

#: Ways of a layer that are told beside the one chosen.
RUNNERS_UP = 3


@dataclass(frozen=True, eq=False)
class FitSettings:
    """What `clprune.fit` takes, and describes, but for how fast the model has to be."""

    model: ModelLike
    _: KW_ONLY
    weights: str | Path | None = None
    data: Data
    held_out: Data | None = None
    count: int | None = None
    batch: int | None = None
    methods: Sequence[str] | None = None
    bits: Sequence[int] = ()
    epochs: int = 0
    learning_rate: float = 0.02
    recipe: Recipe | None = None
    tune_s: float = 300.0
    tries: int = TRIES
    seed: int = 0
    out: str | Path | None = None
    image_options: ImageOptions | None = None
    device: Device = None
    progress: OnProgress | None = None

    def kinds(self) -> tuple[Kind, ...]:
        """What layers may be pruned by. Raises UsageError for unknown methods."""
        from clprune.fitting.kinds import METHODS, kinds_of

        return kinds_of(tuple(METHODS if self.methods is None else self.methods))

    def images(self, dense: Model) -> tuple[DataSet, DataSet]:
        """(to fit and retrain on, held out). Raises UsageError where there are no others."""
        images, held_out = load_splits(
            self.data, dense.network, held_out=self.held_out, seed=self.seed, count=self.count,
            image_options=self.image_options, names_file=dense.names_file, progress=self.progress,
        )  # fmt: skip
        if held_out is None:
            raise UsageError("no held-out images to measure the loss on: expected held_out beside such data")
        return images, held_out

    def retraining(self, dense: Model, images: DataSet) -> Recipe | None:
        """By the dense network's answers, and labels as much where there are some; None where nothing is retrained.

        Without dropout: a network that has little left, and a teacher to learn from in few epochs, loses by it more
        than the fit had brought back.
        """
        from clprune.training import Recipe
        from clprune.training.recipe import usual_batch

        if self.recipe is not None and not images.is_labelled:
            return replace(self.recipe, distillation=1.0)
        if self.recipe is not None or self.epochs == 0:
            return self.recipe
        share = 0.5 if images.is_labelled else 1.0
        return Recipe(
            epochs=self.epochs, learning_rate=self.learning_rate, batch=usual_batch(dense.network), distillation=share,
            dropout_strength=0.0, seed=self.seed,
        )  # fmt: skip


@contextmanager
def open_fitter(
    settings: FitSettings, *, prefixes: Sequence[str | Path], record: Path | None = None
) -> Iterator[Fitter]:
    """The fitter of a model, with its table measured or found in the file `record`; models may go to `prefixes`.

    Raises UsageError for files in the way before anything is measured, FileError for a record of something else, and
    what measuring raises.
    """
    from clprune.fitting.stored import check_bits

    bits, kinds = check_bits(settings.bits), settings.kinds()
    dense = as_model(settings.model, settings.weights, batch=settings.batch)
    is_packed = bool(bits) or any(kind.settings(0.5).winograd is not None for kind in kinds)
    file_format: FileFormat = "packed" if is_packed else "darknet"
    for prefix in prefixes:
        model_targets(prefix, file_format=file_format, sources=dense.files)
        output_path(prefix, _CHECKPOINT)
    images, held_out = settings.images(dense)
    with opened(settings.device) as session, open_store(to_write=True) as store:
        from clprune.fitting.apply import Applier
        from clprune.fitting.build import Builder
        from clprune.fitting.record import Record, images_hash, model_hash
        from clprune.training.refit import Reference, calibration_images

        calibration = calibration_images(dense.network, images)
        facts = {
            "model": model_hash(dense), "batch": dense.network.batch, "data": data_name(settings.data),
            "seed": settings.seed, "images": len(images), "pictures": images_hash(calibration), **session.info.facts,
        }  # fmt: skip
        known = Record(record, facts=facts, layers=[layer.index for layer in dense.network.matrix_layers])
        reference = Reference(dense.network, dense.weights, calibration)
        table = Builder(
            model=dense, session=session, store=store, reference=reference, record=known, kinds=kinds, bits=bits,
            tune_s=settings.tune_s, progress=settings.progress,
        ).table()  # fmt: skip
        yield Fitter(
            settings=settings, dense=dense, images=images, held_out=held_out, session=session, store=store,
            recipe=settings.retraining(dense, images), file_format=file_format, record=known, table=table,
            ways=", ".join(map(str, (*kinds, *bits))), calibration=calibration,
            apply=Applier(table=table, model=dense, reference=reference, images=calibration),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitter:
    """A table of what a model may become, and the way from it to models that were proved.

    `calibration` are the images by which layers are fitted and judged, `ways` names what the table has.
    """

    settings: FitSettings
    dense: Model
    images: DataSet
    held_out: DataSet
    session: Session
    store: Store
    recipe: Recipe | None
    file_format: FileFormat
    record: Record
    table: Table
    ways: str
    calibration: DataSet
    apply: Applier

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

        chosen = self.record.get("chosen", f"{target} {self.ways} {self.settings.tries}", lambda: self._chosen(target))
        try:
            selection, attempts = self.table.named(chosen["name"]), int(chosen["attempts"])
        except UsageError as error:
            raise self.record.refused(f"chosen: {error}") from error
        applied = self.apply(selection)
        trained, losses = self._retrained(applied, prefix)
        model = stored(trained, applied.bits)
        proof = prove(self.session, self.dense, model, self.held_out)
        budget = None if target.most_loss is not None else target.budget(proof.dense_ms)
        allowed = proof.points_lost <= target.most_loss if target.most_loss is not None else True
        result = FitResult(
            model=model,
            data=data_name(self.settings.data),
            device=self.session.info,
            budget_ms=budget,
            most_loss=target.most_loss,
            promised_ms=self.table.time_ms(applied.selection),
            dense_table_ms=self._dense_ms,
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
        from clprune.fitting.choice import dense_ms as dense_ms_of
        from clprune.fitting.choice import fastest_ms
        from clprune.fitting.stored import stored

        promised_for, attempts = self._budget(target), 0
        within: list[tuple[float, str]] = []
        while True:
            applied, attempts = self._best(promised_for), attempts + 1
            found = applied.divergence, self.table.name(applied.selection)
            dense_ms, fitted_ms = self._try(stored(applied.model, applied.bits))
            if target.most_loss is not None:
                break
            budget_ms = target.budget(dense_ms)
            if fitted_ms <= budget_ms * (1 + TOLERANCE):
                within.append(found)
            # after one in time, the first that uses its budget, or is over it, is the last
            is_enough = bool(within) and fitted_ms >= budget_ms * (1 - UNUSED)
            promised_for *= budget_ms / fitted_ms
            can_be = fastest_ms(self.table) <= promised_for <= dense_ms_of(self.table)
            if is_enough or not can_be or attempts == ATTEMPTS:
                break
        return {"name": min(within, default=found)[1], "attempts": attempts}

    @property
    def _dense_ms(self) -> float:
        return float(self.record.known("times", "dense")["whole_ms"])

    def _budget(self, target: Target) -> float:
        """Milliseconds to select for: those asked for, or the fewest by which no more than allowed is lost."""
        from clprune.fitting.choice import choose, dense_ms, fastest_ms

        if target.most_loss is None:
            return target.budget(self._dense_ms)
        # The dense network may have been measured faster than the table expects of it, or of any choice.
        low, high = fastest_ms(self.table), max(self._dense_ms, dense_ms(self.table))
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
            self._tell("search", tried, self.settings.tries)
            tried += 1
            return float(
                self.record.get("answers", self.table.name(selection), lambda: self._judged(selection).divergence)
            )

        found = search(
            self.table, budget_ms=budget_ms, evaluate=evaluate, tries=self.settings.tries, seed=self.settings.seed
        )
        if found is None:
            raise UsageError(f"no choice takes {budget_ms:.3g} ms by the table: expected a longer budget")
        return self.apply(found[0])

    def _judged(self, selection: Selection) -> Applied:
        """What the selection makes of the model, near enough to be judged.

        Where fitting layer after layer takes long, every layer is fitted as if it were alone.
        """
        from clprune.training.refit import CLOSE, QUICK

        return self.apply(selection, QUICK if self.apply.reference.work_from(0) > MOST_CLOSE else CLOSE)

    def _try(self, model: Model) -> tuple[float, float]:
        """(dense ms, fitted ms) in turns, with tiles for what the model has become."""
        from clprune.fitting.times import tune_missing
        from clprune.workflow.tune import refine_in_network

        self._tell("tuning", 0, 1)
        if tune_missing(self.session, self.store, model, budget_s=self.settings.tune_s):
            refine_in_network(self.session, self.store, model.network, model.weights, effort="quick")
        return times(self.session, self.dense, model)

    def _retrained(self, applied: Applied, prefix: str | Path | None) -> tuple[Model, tuple[float, ...]]:
        from clprune.training import Teacher, train

        if self.recipe is None:
            return applied.model, ()
        checkpoint = None if prefix is None else output_name(prefix, _CHECKPOINT)
        trained = train(
            applied.model.network,
            self.images,
            self.recipe,
            weights=applied.model.weights,
            masks=applied.masks,
            teacher=Teacher(network=self.dense.network, weights=self.dense.weights),
            checkpoint=checkpoint,
            report=self.settings.progress,
        )
        return replace(applied.model, weights=trained.weights), trained.losses

    def _written(self, result: FitResult, prefix: str | Path | None) -> FitResult:
        if prefix is None:
            return result
        written = result.model.save(prefix, file_format=self.file_format)
        output_name(prefix, _CHECKPOINT).unlink(missing_ok=True)
        return replace(result, written=written)

    def _layers(self, selection: Selection) -> tuple[LayerChoice, ...]:
        kept, ways = self.table.kept(selection.channels), self.table.ways(selection.channels)
        choices = []
        for index, place in selection.entries.items():
            layer, entries = self.dense.network.layers[index], ways[index]
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
        if self.settings.progress is not None:
            self.settings.progress(Progress(stage=stage, done=done, total=total, place=f"{done + 1}/{total}"))
