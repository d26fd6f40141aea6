"""Training: the loop over epochs and steps, with masks held where a pruned network is retrained."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clprune.darknet.network import Network, check_data
from clprune.darknet.values import Weights
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.files import check_writable
from clprune.progress import OnProgress, Progress
from clprune.pruning.unit import Mask
from clprune.training.augment import draw_augmentation
from clprune.training.checkpoint import Checkpoint, load_checkpoint, run_key, save_checkpoint
from clprune.training.distillation import Teacher, check_goal, distillation_loss, heads_loss, teacher_module
from clprune.training.evaluate import check_batch, evaluate
from clprune.training.held_masks import HeldMasks
from clprune.training.module import NetworkModule, load_module, store_weights
from clprune.training.processor import check_memory, training_device
from clprune.training.quantize import HeldCodes, Quantization
from clprune.training.ranks import Ranks, current_ranks
from clprune.training.recipe import Recipe
from clprune.training.values import Weighted

REPORT_EVERY_STEPS = 20

#: The norm that a detector's gradient has at most: of a rare object it may be many times as large.
MOST_GRADIENT = 0.25


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The trained `weights`; `losses` and, with validation data, `accuracies`: one per epoch."""

    weights: Weights
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


def train(
    network: Network,
    data: DataSet,
    recipe: Recipe,
    *,
    weights: Weights | None = None,
    masks: Mapping[int, Mask] | None = None,
    quantization: Quantization | None = None,
    teacher: Teacher | None = None,
    validation: DataSet | None = None,
    checkpoint: str | Path | None = None,
    report: OnProgress | None = None,
) -> TrainingResult:
    """Train `network` on `data` by `recipe`, from `weights` or from new random ones; the last epoch's weights count.

    `masks` (bool `[out_channels, K]` by layer index, in the Winograd domain `[alpha^2 * out, in]`) hold removed weights
    at zero. With `quantization` the network computes with quantized values, and the resulting weights are coded. A
    recipe with `distillation` learns from the answers of `teacher`; any other has no use for it. `validation` is
    evaluated after each epoch and decides nothing. With `checkpoint` the state is kept there after each epoch, and a
    run that finds its own goes on from it. Processes that met in `clprune.training.ranks.join_ranks` train together;
    the first one keeps the checkpoint and makes the reports. Raises UsageError when data and network do not fit or the
    loss diverges, UnsupportedLayerError for layers that cannot be trained, FileError for a checkpoint of another run.
    """
    check_goal(network, recipe)
    device, ranks = training_device(), current_ranks()
    check_memory(network, images=min(recipe.batch, len(data)))
    # what cuDNN would choose by timing adds up in another order from run to run
    deterministic = torch.backends.cudnn.flags(benchmark=False, deterministic=True)
    with torch.random.fork_rng(devices=[device.index] if device.type == "cuda" else []), deterministic:
        torch.manual_seed(recipe.seed)
        module = load_module(network, weights).to(device)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
        check_data(network, data)
        if recipe.distillation < 1:
            data.check_labelled("images with classes, or distillation 1, by which a teacher's answers are learned")
        check_batch(module, min(recipe.batch, len(data)))
        codes = None if quantization is None else HeldCodes(module, quantization)
        teaching = teacher_module(teacher, network, recipe)
        run = _Run(
            module,
            data,
            recipe,
            masks=masks or {},
            codes=codes,
            teaching=teaching,
            report=report if ranks.is_first else None,
        )
        purpose = "" if quantization is None else quantization.description
        if ranks.count > 1:
            purpose += f", {ranks.count} processes"  # rounding differs with their number
        key = run_key(
            network,
            data,
            recipe,
            masks=masks or {},
            start=module.state_dict(),
            teaching={} if teaching is None else teaching.state_dict(),
            purpose=purpose,
        )
        if checkpoint is not None:
            path = Path(checkpoint)
            run.resume(ranks.from_first(lambda: load_checkpoint(check_writable(path), key=key)))
        if run.epochs_done < recipe.epochs:
            run.tell(0)
        while run.epochs_done < recipe.epochs:
            run.train_epoch(validation)
            if checkpoint is not None and ranks.is_first:
                save_checkpoint(path, run.state(), key=key)
    seen = (weights.seen if weights is not None else 0) + recipe.epochs * run.steps * run.images_of_step
    trained = store_weights(module, seen=seen)
    if weights is not None:  # the header tells which fork of darknet the model is for
        trained = replace(weights, layers=trained.layers, seen=seen)
    if codes is not None:
        trained = codes.code(network, trained)
    return TrainingResult(weights=trained, losses=tuple(run.losses), accuracies=tuple(run.accuracies))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """This process's part of a batch of `count` images: float32 `[n, C, height, width]` and int64 `[n]`."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    count: int


def _read_ahead(data: DataSet, batches: Sequence[NDArray[np.int64]], *, ranks: Ranks) -> Iterator[_Batch]:
    """The chosen images of each of `batches`; the next one's files are read and decoded while one is computed with."""

    def read(chosen: NDArray[np.int64]) -> _Batch:
        part = ranks.shard(chosen)
        return _Batch(images=data.batch(part), labels=data.labels[part], count=len(chosen))

    with ThreadPoolExecutor(1, thread_name_prefix="clprune-images") as reader:
        coming = reader.submit(read, batches[0])
        for following in batches[1:]:
            batch, coming = coming.result(), reader.submit(read, following)
            yield batch
        yield coming.result()


class _Run:
    """The moving parts of one training: module, optimiser, and what was measured so far."""

    def __init__(
        self,
        module: NetworkModule,
        data: DataSet,
        recipe: Recipe,
        *,
        masks: Mapping[int, Mask],
        codes: HeldCodes | None,
        teaching: NetworkModule | None,
        report: OnProgress | None,
    ) -> None:
        self.module = module
        self.ranks = current_ranks()
        self.wrapped = self.ranks.wrap(module)
        self.device = next(module.parameters()).device
        self.teaching = teaching
        if teaching is not None:
            teaching.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in train
        self.data = data
        self.recipe = recipe
        self.report = report
        self.held = HeldMasks(module, masks)
        self.codes = codes
        self.optimiser = make_optimiser(module, recipe)
        self.is_detector = module.network.output_layers[0].is_head
        if self.is_detector:  # the few pictures of a batch are no measure of what the teacher saw in training
            module.hold_statistics()
        self.images_of_step = max(min(recipe.batch, len(data)), 1)
        self.steps = max(len(data) // self.images_of_step, 1)
        self.augmenting = torch.Generator()
        self.epochs_done = 0
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def resume(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        self.module.load_state_dict(checkpoint.module)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.epochs_done = checkpoint.epochs_done
        self.losses = list(checkpoint.losses)
        self.accuracies = list(checkpoint.accuracies)

    def state(self) -> Checkpoint:
        return Checkpoint(
            epochs_done=self.epochs_done,
            module=self.module.state_dict(),
            optimiser=self.optimiser.state_dict(),
            losses=tuple(self.losses),
            accuracies=tuple(self.accuracies),
        )

    def train_epoch(self, validation: DataSet | None) -> None:
        epoch = self.epochs_done
        # each epoch has random numbers of its own, so that a resumed run draws the same ones
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.recipe.seed, epoch])))
        seed = int(random.integers(1 << 62))
        torch.manual_seed(seed + self.ranks.rank)  # for dropout: other values in every process
        self.augmenting.manual_seed(seed)
        data = self.data.epoch(epoch)
        order = np.argsort(random.random(len(data)), kind="stable")
        batches = [order[first : first + self.recipe.batch] for first in range(0, len(data), self.recipe.batch)]
        self.module.train()
        total = 0.0
        started = time.perf_counter()
        for step, batch in enumerate(_read_ahead(data, batches[: self.steps], ranks=self.ranks)):
            total += self._train_step(batch, step=epoch * self.steps + step)
            if step + 1 < self.steps and (step + 1) % REPORT_EVERY_STEPS == 0:
                self.tell(step + 1, loss=total / (step + 1), started=started)
        self.losses.append(total / self.steps)
        if validation is not None:
            self.accuracies.append(evaluate(self.module, validation).accuracy)
        self.tell(self.steps, loss=self.losses[-1], started=started)
        self.epochs_done += 1

    def _train_step(self, batch: _Batch, *, step: int) -> float:
        recipe = self.recipe
        steps = recipe.epochs * self.steps
        self.module.set_dropout_strength(recipe.dropout_strength_at(step, steps=steps))
        loss = self._loss(batch)
        value = self.ranks.sum(float(loss.detach())) / self.ranks.count
        if not math.isfinite(value):
            raise UsageError(f"training diverged at step {step}: the loss is {value}; expected a lower learning rate")
        for group in self.optimiser.param_groups:
            group["lr"] = group["learning_rate_factor"] * recipe.learning_rate_at(step, steps=steps)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward without annotations
        self.held.clear_gradients()
        if self.is_detector:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), MOST_GRADIENT)
        if self.codes is not None:
            self.codes.share_gradients()
        self.optimiser.step()
        self.held.clear_weights()
        return value

    def _loss(self, batch: _Batch) -> Tensor:
        """The mean over this process's part of the batch, so weighed that the mean over processes is the batch's."""
        recipe = self.recipe
        images = torch.from_numpy(batch.images)
        if self.data.renew is None:
            # drawn for the whole batch, so that it does not depend on the number of processes
            drawn = draw_augmentation(
                batch.count, shift_pixels=recipe.shift_pixels, flip=recipe.flip, generator=self.augmenting
            )
            images = drawn.of(self.ranks.shard(np.arange(batch.count))).apply(images)
        images = images.contiguous(memory_format=torch.channels_last).to(self.device)
        labels = torch.from_numpy(batch.labels).to(self.device)
        in_bfloat16 = recipe.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=in_bfloat16):
            logits = self.wrapped(images)
        loss: Tensor = torch.zeros((), device=self.device)
        if recipe.distillation < 1:
            entropy = functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            loss = (1 - recipe.distillation) * entropy
        if self.teaching is not None:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=in_bfloat16):
                answers = self.teaching(images).float()
            if self.is_detector:
                distilled = heads_loss(self.module.network, logits.float(), answers)
            else:
                distilled = distillation_loss(logits.float(), answers, temperature=recipe.temperature)
            loss = loss + recipe.distillation * distilled
        return loss * (len(batch.labels) * self.ranks.count / batch.count)

    def tell(self, step: int, *, loss: float = math.nan, started: float = 0.0) -> None:
        """Report that `step` steps of this epoch are done; after the last one also the accuracy, where it is known."""
        if self.report is None:
            return
        figures: dict[str, float] = {}
        if step:
            elapsed = max(time.perf_counter() - started, 1e-9)
            figures = {"loss": loss, "images/s": step * self.images_of_step / elapsed}
        if step == self.steps and self.accuracies:
            figures["accuracy"] = self.accuracies[-1]
        epoch, epochs = self.epochs_done + 1, self.recipe.epochs
        self.report(
            Progress(
                stage="training",
                done=self.epochs_done * self.steps + step,
                total=epochs * self.steps,
                place=f"epoch {epoch}/{epochs}",
                part=epoch,
                figures=figures,
                is_milestone=step == self.steps,
            )
        )


def make_optimiser(module: NetworkModule, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay acts on weights only, not on biases and normalisation.

    Weights in the Winograd domain are a group of their own, whose learning rate has the recipe's factor.
    """
    winograd = [layer.weights for layer in module.modules() if isinstance(layer, Weighted) and layer.winograd]
    apart = {id(parameter) for parameter in winograd}
    decayed = [parameter for parameter in module.parameters() if parameter.dim() > 1 and id(parameter) not in apart]
    spared = [parameter for parameter in module.parameters() if parameter.dim() <= 1]
    groups = [
        {"params": parameters, "weight_decay": weight_decay, "learning_rate_factor": factor}
        for parameters, weight_decay, factor in (
            (decayed, recipe.weight_decay, 1.0),
            (spared, 0.0, 1.0),
            (winograd, recipe.weight_decay, recipe.winograd_learning_rate),
        )
        if parameters
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
