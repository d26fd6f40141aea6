"""Commands that answer any number of images by workers: where these are, and the file that answers go to."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.errors import STATUS_FAILURE, STATUS_INTERRUPTED
from clprune.cli.shared.numbers import WholeRange
from clprune.cli.shared.options import together
from clprune.cli.shared.progress import show_progress
from clprune.errors import ClpruneError
from clprune.files import check_writable, paths_in
from clprune.progress import Progress

if TYPE_CHECKING:
    from clprune.container.model import Model

#: The command passes its options to `take_cluster`.
cluster_options = together(
    click.option("--scheduler", metavar="ADDRESS", help="Let the workers of a Dask scheduler do the work."),
    click.option(
        "--workers", type=WholeRange(min=1), metavar="N",
        help="Let N processes of this machine do the work, which share its cores and equal devices.",
    ),
)  # fmt: skip

#: The command passes its options to `take_bulk`.
bulk_options = together(
    cluster_options,
    click.option("--unordered", is_flag=True, help="With workers: answers as they come, not in the order of images."),
    click.option("--resume", is_flag=True, help="With workers: go on with --out FILE, of images without an answer."),
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A scheduler's address, or else so many processes of this machine."""

    scheduler: str | None
    workers: int | None

    def client(self, device: str | None) -> AbstractContextManager[Any]:
        """A client of it. Raises MissingDependencyError, WorkerError, NoDeviceError."""
        from clprune.distributed.cluster import connect, start

        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is an error of ours
        if self.scheduler is not None:
            return connect(self.scheduler)
        assert self.workers is not None
        return start(self.workers, device=device)

    def worker_device(self, device: str | None) -> str | None:
        """What workers select their device by; those of this machine were told when they were started."""
        return None if self.scheduler is None else device


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """How images are answered by workers: `out` is the file that answers go to, None for standard output."""

    cluster: Cluster
    device: str | None
    in_order: bool
    out: str | None
    resume: bool

    def run(
        self,
        function: str,
        model: Model,
        sources: Sequence[str],
        *,
        to_dict: Callable[[Any], Mapping[str, Any]],
        show: Callable[[Any], None],
        shown: Mapping[str, Any],
        **settings: Any,
    ) -> int:
        """Keep, or `show`, what `clprune.distributed`'s `function` gives for all images of `sources`, without these of
        paths on standard input; the exit status. `shown` are the options of `to_dict`, `settings` the function's.
        """
        from clprune import distributed
        from clprune.distributed.answers import AnswerFile, written_by
        from clprune.distributed.sources import count_images, images_in

        if self.out is not None:
            check_writable(Path(self.out), sources=(*model.files, *sources))
        images = images_in(sources) if sources else paths_in(sys.stdin.buffer, name="standard input")
        file = None
        if self.out is not None:
            by = written_by(model, {"function": function, **shown, **settings})
            file = AnswerFile(self.out, by=by, resume=self.resume)
        with file or nullcontext(), show_progress() as progress:
            counts = _Counts(total=count_images(sources), before=file.answered if file else 0)
            try:
                with self.cluster.client(self.device) as client:
                    left = file.left(images) if file else images
                    settings |= {"in_order": self.in_order, "device": self.cluster.worker_device(self.device)}
                    for answer in getattr(distributed, function)(client, model, left, **settings):
                        if file:
                            file.write(to_dict(answer))
                        else:
                            show(answer)
                        counts.add(is_failure=answer.error is not None)
                        progress(counts.event())
                if file:
                    file.finish()
            except (KeyboardInterrupt, ClpruneError) as error:
                if file and counts.before + counts.done:
                    kept = f"{counts.before + counts.done} answers are kept in {file.path}"
                    click.echo(f"clprune: {kept}; the same command with --resume goes on from there", err=True)
                if isinstance(error, ClpruneError):
                    raise
                return STATUS_INTERRUPTED
        click.echo(f"clprune: {counts.done - counts.failures} of {counts.done} images{counts.rate_text()}", err=True)
        return STATUS_FAILURE if counts.failures else 0


@dataclass(kw_only=True)
class _Counts:
    """How far the work is: `before` were answered by an earlier run; `total` is 0 where nobody knows."""

    total: int
    before: int
    done: int = 0
    failures: int = 0
    began_s: float = 0.0

    def add(self, *, is_failure: bool) -> None:
        self.began_s = self.began_s or time.monotonic()  # workers' start is none of the rate
        self.done, self.failures = self.done + 1, self.failures + is_failure

    def rate_text(self) -> str:
        seconds = time.monotonic() - self.began_s
        return f", {self.done / seconds:.1f} images/s" if self.done > 1 else ""

    def event(self) -> Progress:
        count = self.before + self.done
        rate = self.done / max(time.monotonic() - self.began_s, 1e-9)
        place = f"{count}/{self.total} images" if self.total else f"{count} images"
        total = max(self.total, count)
        return Progress(stage="inference", done=count, total=total, place=place, figures={"images/s": rate})


def take_cluster(options: dict[str, Any]) -> Cluster | None:
    """Take the options of `cluster_options` out of `options`; None where neither is given. Raises UsageError."""
    cluster = Cluster(scheduler=options.pop("scheduler"), workers=options.pop("workers"))
    if cluster.scheduler is not None and cluster.workers is not None:
        raise click.UsageError("both --scheduler and --workers: expected one of them")
    return None if cluster == Cluster(scheduler=None, workers=None) else cluster


def take_bulk(options: dict[str, Any], *, out: str | None, device: str | None) -> Bulk | None:
    """Take the options of `bulk_options` out of `options`; None without workers. Raises UsageError."""
    cluster, unordered, resume = take_cluster(options), options.pop("unordered"), options.pop("resume")
    if cluster is None and (unordered or resume):
        raise click.UsageError("--unordered and --resume are for --workers or --scheduler")
    if resume and out is None:
        raise click.UsageError("--resume without --out: expected the file to go on with")
    if cluster is None:
        return None
    return Bulk(cluster=cluster, device=device, in_order=not unordered, out=out, resume=resume)
