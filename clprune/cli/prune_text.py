"""What `clprune prune` says when it is done, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clprune.cli.shared.text import print_table

if TYPE_CHECKING:
    from clprune.pruning.report import LayerReport, PruningReport
    from clprune.workflow.prune import PruneResult

#: A speed-up below this is not worth the name.
SLOWEST_GAIN = 1.05


def print_text(result: PruneResult) -> None:
    """Tables of layers and of both models on stdout; notes and warnings on stderr."""
    summary, before, after = result.report, result.before, result.after
    assert summary is not None and before is not None and after is not None and result.written is not None
    cfg, weights = result.written
    rows = [
        (
            layer.layer,
            layer.kind,
            layer.unit,
            f"{100 * layer.kept_share:.0f}%",
            f"{100 * layer.norm_error:.0f}%",
            _imbalance(layer),
            f"{before.layer_ms[layer.layer]:.4f}",
            f"{after.layer_ms[layer.layer]:.4f}",
            f"{before.layer_ms[layer.layer] / after.layer_ms[layer.layer]:.2f}x",
        )
        for layer in summary.layers
    ]
    for index, reason in summary.left.items():
        click.echo(f"clprune: note: the channels of layer {index} stay as they are: {reason}", err=True)
    print_table(["layer", "kind", "unit", "kept", "norm gone", "imbalance", "ms before", "after", "speed-up"], rows)
    click.echo()
    if summary.choices:
        _print_choices(summary)
    whole = [
        (
            name,
            f"{100 * model.accuracy:.2f}%",
            f"{100 * model.weights_kept:.1f}%",
            f"{model.best_ms:.3f}",
            f"{model.median_ms:.3f}",
            f"{model.largest_error:.1e}",
        )
        for name, model in (("before", before), ("after", after))
    ]
    if summary.accuracy_masked is not None:
        whole.insert(1, ("masked, before retraining", f"{100 * summary.accuracy_masked:.2f}%", "", "", "", ""))
    print_table(["model", "accuracy", "weights kept", "best ms", "median ms", "largest error"], whole)
    click.echo(
        f"on {len(result.held_out)} held-out images of {result.held_out.name}; times of one image on {summary.device}"
    )
    speed_up = before.best_ms / after.best_ms
    if speed_up < SLOWEST_GAIN:
        click.echo(
            f"clprune: warning: removing {100 * (1 - after.weights_kept):.0f} % of the weights gained no time on "
            f"this device ({speed_up:.2f}x); try `clprune tune {cfg}`",
            err=True,
        )
    slow = [str(layer.layer) for layer in summary.layers if layer.gained_nothing]
    if slow:
        click.echo(f"clprune: warning: operations fell but time did not in layers {', '.join(slow)}", err=True)
    click.echo(f"written: {cfg}, {weights}")


def _print_choices(summary: PruningReport) -> None:
    """What was chosen for each layer, and why."""
    rows = [
        (
            choice.layer,
            choice.variant,
            *(f"{cost.time_ms:.4f}" for cost in choice.costs.values()),
            *(f"{cost.loss:.4f}" for cost in choice.costs.values()),
            choice.reason,
        )
        for choice in summary.choices
    ]
    costs = [f"{variant} {unit}" for unit in ("ms", "loss") for variant in summary.choices[0].costs]
    print_table(["layer", "variant", *costs, "because"], rows)
    click.echo()


def _imbalance(layer: LayerReport) -> str:
    """The fullest row block over the mean; also before the method balanced them, and of U that of its matrices."""
    if layer.matrix_imbalance is not None:
        return f"{layer.imbalance:.2f}, matrices {layer.matrix_imbalance:.2f}"
    if layer.imbalance_before is None:
        return f"{layer.imbalance:.2f}"
    return f"{layer.imbalance_before:.2f} to {layer.imbalance:.2f}"
