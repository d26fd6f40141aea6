"""A pruning run as one HTML file: figures, plots, a table. Nothing is loaded from elsewhere, nothing runs in it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from clprune.pruning.report import LayerReport, PruningReport
from clprune.pruning.svg import Series, bar_chart

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --paper: #ffffff; --card: #f4f6f9; --line: #d9dfe7;
  --before: #9aa7b6; --after: #1f6feb; --error: #c2410c; --warn: #fff4e0; --warn-line: #d98b06; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #98a5b5; --paper: #12161c; --card: #1b2129;
  --line: #303a46; --before: #6b7988; --after: #58a0ff; --error: #f0803c; --warn: #33270f; --warn-line: #d98b06; } }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.soft { color: var(--soft); margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--card); border-radius: 8px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.warning { background: var(--warn); border-left: 4px solid var(--warn-line); padding: .5rem .9rem; margin: .4rem 0; }
figure { margin: 0 0 1.6rem; overflow-x: auto; } figcaption { font-weight: 600; margin-bottom: .3rem; }
.legend { font-weight: 400; color: var(--soft); margin-left: 1rem; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .8em; }
svg { width: 100%; min-width: 34rem; height: auto; display: block; }
.grid { stroke: var(--line); } .axis { fill: var(--soft); font-size: 12px; }
.before { fill: var(--before); background: var(--before); } .after { fill: var(--after); background: var(--after); }
.error { fill: var(--error); background: var(--error); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .45rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal;
  line-height: 1.25; }
td.text, th.text { text-align: left; }
td.slow { color: var(--error); font-weight: 600; } td.why { white-space: normal; text-align: left; }
"""


def report_page(report: PruningReport) -> str:
    """The whole page; it looks right in light and dark mode, on paper and in a narrow window."""
    title = f"{report.method}: {report.model}"
    parts = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>Pruned by {escape(report.method)}</h1>",
        f'<p class="soft">{escape(_subtitle(report))}</p>',
        _tiles(report),
        *(f'<p class="warning">{escape(line)}</p>' for line in report.warnings),
        "<h2>Layers</h2>",
        *_charts(report.layers),
        _table(report.layers),
        _choices(report),
        _notes(report),
        "</body></html>\n",
    )
    return "\n".join(part for part in parts if part)


def _subtitle(report: PruningReport) -> str:
    parts = [report.model, f"criterion {report.criterion}", f"allocation {report.allocation}"]
    parts += ["channels permuted"] if report.permuted else []
    parts += [f"accuracy on {report.data}"] if report.data and report.accuracy_retrained is not None else []
    parts += [f"times on {report.device}"] if report.device else []
    return " · ".join(parts)


def _tiles(report: PruningReport) -> str:
    tiles: list[tuple[str, str]] = []
    for name, share in (
        ("accuracy, dense", report.accuracy_dense),
        ("accuracy, before retraining", report.accuracy_masked),
        ("accuracy, after retraining", report.accuracy_retrained),
    ):
        if share is not None:
            tiles.append((name, f"{100 * share:.2f} %"))
    if report.ms_before and report.ms_after:
        tiles.append(("milliseconds, before and after", f"{report.ms_before:.3g} → {report.ms_after:.3g}"))
        tiles.append(("speed-up", f"{report.ms_before / report.ms_after:.2f} ×"))
    cells = (f'<div class="tile">{escape(name)}<b>{escape(value)}</b></div>' for name, value in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>' if tiles else ""


def _charts(layers: tuple[LayerReport, ...]) -> Iterable[str]:
    labels = [str(layer.layer) for layer in layers]
    kept = [100 * layer.kept_share for layer in layers]
    yield bar_chart(
        title="Weights that stay", labels=labels, series=[Series(name="kept", values=kept, style="after")], unit="%"
    )
    if any(layer.ms_after is not None for layer in layers):
        before = Series(name="dense", values=[layer.ms_before for layer in layers], style="before")
        after = Series(name="pruned", values=[layer.ms_after for layer in layers], style="after")
        yield bar_chart(title="Time of each layer", labels=labels, series=[before, after], unit="ms")
    errors = [100 * layer.norm_error for layer in layers]
    yield bar_chart(
        title="Norm that went, before retraining",
        labels=labels,
        series=[Series(name="removed norm", values=errors, style="error")],
        unit="%",
    )


def _table(layers: tuple[LayerReport, ...]) -> str:
    heads = ("layer", "kind", "unit", "kept, asked", "kept", "norm gone", "columns a row block keeps", "imbalance",
             "ms before", "ms after", "speed-up")  # fmt: skip
    text_columns = 3
    head = "".join(
        f"<th{' class=text' if place < text_columns else ''}>{escape(name)}</th>" for place, name in enumerate(heads)
    )
    rows = "".join(_row(layer) for layer in layers)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(layer: LayerReport) -> str:
    imbalance = f"{layer.imbalance:.2f}"
    if layer.imbalance_before is not None:
        imbalance = f"{layer.imbalance_before:.2f} → {imbalance}"
    cells = [
        f"{100 * (1 - layer.sparsity):.1f} %",
        f"{100 * layer.kept_share:.1f} %",
        f"{100 * layer.norm_error:.1f} %",
        _range(layer),
        imbalance,
        _number(layer.ms_before),
        _number(layer.ms_after),
    ]
    speed_up = f"{layer.ms_before / layer.ms_after:.2f} ×" if layer.ms_before and layer.ms_after else ""
    text = "".join(f'<td class="text">{escape(str(value))}</td>' for value in (layer.layer, layer.kind, layer.unit))
    numbers = "".join(f"<td>{escape(value)}</td>" for value in cells)
    slow = ' class="slow"' if layer.gained_nothing else ""
    return f"<tr>{text}{numbers}<td{slow}>{speed_up}</td></tr>\n"


def _range(layer: LayerReport) -> str:
    most = f"{layer.columns_most} of {layer.columns}"
    return most if layer.columns_fewest == layer.columns_most else f"{layer.columns_fewest} to {most}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _notes(report: PruningReport) -> str:
    """Which layers were reordered, and which could not be touched."""
    rows = [
        (layer, f"reordered: {100 * before:.1f} % of the norm would have stayed, {100 * after:.1f} % does")
        for layer, (before, after) in report.permuted.items()
    ]
    rows += [(layer, f"left as it is: {reason}") for layer, reason in report.left.items()]
    return _reasons("Channels", rows)


def _choices(report: PruningReport) -> str:
    """What was chosen for each layer, and why."""
    return _reasons("Variants", [(choice.layer, f"{choice.variant}: {choice.reason}") for choice in report.choices])


def _reasons(heading: str, rows: list[tuple[int, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f'<tr><td class="text">{layer}</td><td class="why">{escape(text)}</td></tr>' for layer, text in sorted(rows)
    )
    return f"<h2>{heading}</h2><table><tbody>{lines}</tbody></table>"
