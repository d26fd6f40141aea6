"""`clprune darknet`: detectors and classifiers by darknet's own words and flags."""

from __future__ import annotations

import click

from clprune.cli.shared import darknet_classifier, darknet_detector
from clprune.cli.shared.darknet_words import Words
from clprune.cli.shared.errors import STATUS_FAILURE
from clprune.errors import UsageError

#: What is asked for -> what does it, and the fork whose words it speaks.
_COMMANDS = {
    ("detector", "test"): (darknet_detector.test, "alexeyab"),
    ("detector", "map"): (darknet_detector.average_precision, "alexeyab"),
    ("detector", "valid"): (darknet_detector.valid, "alexeyab"),
    ("classifier", "predict"): (darknet_classifier.predict, "pjreddie"),
    ("classifier", "valid"): (darknet_classifier.valid, "pjreddie"),
}


@click.command("darknet", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@click.argument("words", metavar="WORDS...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """Take the place of a darknet that scripts call, with its words, its flags and its lines.

    \b
    detector test DATA CFG [WEIGHTS [IMAGE]]       -thresh -ext_output -letter_box -out FILE -save_labels -hier
    detector map DATA CFG [WEIGHTS]                -thresh -iou_thresh -points -letter_box
    detector valid DATA CFG [WEIGHTS]              -out NAME
    classifier predict DATA CFG [WEIGHTS [IMAGE]]  -t N
    classifier valid DATA CFG [WEIGHTS]

    Detectors speak as in AlexeyAB's darknet, classifiers as in pjreddie's; -dialect alexeyab|hank-ai|pjreddie takes
    another. -dont_show and -i change nothing, -nogpu takes a CPU; $CLPRUNE_DEVICE chooses the device. Other than
    darknet this ends with status 1 where anything failed.
    """
    found = _COMMANDS.get((words[0], words[1])) if len(words) > 1 else None
    if found is None:
        known = ", ".join(" ".join(pair) for pair in _COMMANDS)
        raise UsageError(f"{' '.join(words[:2]) or 'no words'}: expected one of {known}")
    run, dialect = found
    if not run(Words.of(words[2:], default_dialect=dialect)):
        ctx.exit(STATUS_FAILURE)
