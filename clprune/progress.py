"""What long work tells while it runs: one kind of event, for one kind of callback, and its lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

#: Seconds until work that reached no milestone says in a log where it is.
SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of long work: `done` of `total`, in a unit that passes evenly (steps, images, seconds of a budget).

    `stage` names the work ("training", "tuning", "evaluation"), `place` where in it this is ("epoch 3/40") and `part`
    the number of that place, counted from 1. `figures` are measured so far, by name. `is_milestone` marks the end of a
    part that is worth a line in a log, such as an epoch.
    """

    stage: str
    done: float
    total: float
    place: str = ""
    part: int = 1
    figures: Mapping[str, float] = field(default_factory=dict)
    is_milestone: bool = False


#: What takes progress; it may raise (KeyboardInterrupt, say) to end the work.
OnProgress = Callable[[Progress], None]


def share_of(progress: OnProgress | None, *, number: int, count: int) -> OnProgress | None:
    """What tells `progress` of work that is number `number`, counted from 0, of `count` alike."""
    if progress is None or count == 1:
        return progress
    return lambda event: progress(replace(event, done=number * event.total + event.done, total=count * event.total))


class ProgressLines:
    """Writes a line at every milestone, and for work without one every `SECONDS_BETWEEN_LINES`."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._left = TimeLeft(clock)
        self._last_line_s = clock()

    def __call__(self, event: Progress) -> None:
        left = self._left.after(event)
        if event.is_milestone or self._clock() - self._last_line_s >= SECONDS_BETWEEN_LINES:
            self._last_line_s = self._clock()
            details = [figures_text(event), "" if left is None else f"{duration_text(left)} left"]
            text = ", ".join(detail for detail in details if detail)
            self._write(f"{event.stage} {event.place}".strip() + (f": {text}" if text else ""))


class TimeLeft:
    """Estimates how long a stage will still take, from its pace since its first event."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: Progress | None = None
        self._began_s = clock()

    def after(self, event: Progress) -> float | None:
        """Seconds left; None at a stage's first event and at its end."""
        if self._first is None or self._first.stage != event.stage or event.done < self._first.done:
            self._first, self._began_s = event, self._clock()
        done = event.done - self._first.done
        if done <= 0 or event.done >= event.total:
            return None
        return (self._clock() - self._began_s) * (event.total - event.done) / done


def figures_text(event: Progress) -> str:
    """The figures of an event, in few digits."""
    return ", ".join(f"{name} {value:.4g}" for name, value in event.figures.items())


def duration_text(seconds: float) -> str:
    """A duration in its two largest units, such as `3 min 20 s`."""
    whole = round(seconds)
    for unit, size, small, small_size in (("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small_size} {small}"
    return f"{whole} s"
