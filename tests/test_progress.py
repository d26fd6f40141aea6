"""Progress without a terminal: a line for every milestone, else one every half a minute, with the time left."""

from __future__ import annotations

import io

import pytest

from clprune.cli.shared.progress import show_progress
from clprune.progress import Progress, ProgressLines, TimeLeft, duration_text, share_of


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def event(done: float, *, stage: str = "training", is_milestone: bool = False, **figures: float) -> Progress:
    return Progress(stage=stage, done=done, total=100, place="epoch 1/2", figures=figures, is_milestone=is_milestone)


def test_a_line_for_every_epoch_with_the_time_left() -> None:
    clock, lines = Clock(), list[str]()
    show = ProgressLines(lines.append, clock=clock)
    show(event(0))
    clock.now += 10
    show(event(25))
    assert lines == []
    clock.now += 10
    show(event(50, is_milestone=True, loss=0.5, accuracy=0.87654))
    clock.now += 20
    show(event(100, is_milestone=True))
    assert lines == ["training epoch 1/2: loss 0.5, accuracy 0.8765, 20 s left", "training epoch 1/2"]


def test_long_work_without_milestones_says_where_it_is_every_half_minute() -> None:
    clock, lines = Clock(), list[str]()
    show = ProgressLines(lines.append, clock=clock)
    for second in range(100):
        show(event(second, stage="tuning"))
        clock.now += 1
    assert [line.partition(": ")[2] for line in lines] == ["1 min 10 s left", "40 s left", "10 s left"]


def test_each_stage_and_a_resumed_run_have_a_pace_of_their_own() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    assert left.after(event(60)) is None  # a run that goes on from its checkpoint
    clock.now += 10
    assert left.after(event(80)) == 10
    clock.now += 10
    assert left.after(event(0, stage="evaluation")) is None
    clock.now += 1
    assert left.after(event(50, stage="evaluation")) == 1
    assert left.after(event(100, stage="evaluation")) is None


def test_work_of_several_parts_counts_as_one() -> None:
    seen: list[Progress] = []
    for number in range(2):
        report = share_of(seen.append, number=number, count=2)
        assert report is not None
        report(event(50))
    assert [(one.done, one.total) for one in seen] == [(50, 200), (150, 200)]
    assert share_of(None, number=0, count=2) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (12_000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_short_work_and_other_processes_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as show:
        show(event(50))
    with show_progress(is_shown=False) as show:
        show(event(50, is_milestone=True))
    assert capsys.readouterr() == ("", "")
    with show_progress() as show:
        show(event(50, is_milestone=True))
    assert capsys.readouterr() == ("", "training epoch 1/2\n")


def test_a_bar_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with show_progress() as show:
        show(event(50, loss=0.5))
        show(event(100, loss=0.25))
        show(event(10, stage="evaluation"))
    shown = terminal.getvalue()
    assert "evaluation epoch 1/2" in shown
    assert shown.endswith("\x1b[2K")  # nothing of it stays


def test_of_several_processes_one_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(is_shown=False) as show:
        show(event(50, is_milestone=True))
    assert capsys.readouterr() == ("", "")
