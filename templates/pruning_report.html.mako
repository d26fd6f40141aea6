## A pruning run as one page: figures, plots, a table. It loads nothing, runs nothing, and looks right in light and dark
## mode, on paper and in a narrow window. `report` is a clprune.pruning.report.PruningReport, `axis_ticks(highest)`
## gives the round numbers beside a plot. Every expression is escaped.
<%page expression_filter="h"/>\
<%!
def number(value):
    return "" if value is None else f"{value:.4g}"

def columns_of(layer):
    most = f"{layer.columns_most} of {layer.columns}"
    return most if layer.columns_fewest == layer.columns_most else f"{layer.columns_fewest} to {most}"

def imbalance_of(layer):
    before = "" if layer.imbalance_before is None else f"{layer.imbalance_before:.2f} → "
    return f"{before}{layer.imbalance:.2f}"

def subtitle(report):
    yield from (report.model, f"criterion {report.criterion}", f"allocation {report.allocation}")
    if report.permuted:
        yield "channels permuted"
    if report.data and report.accuracy_retrained is not None:
        yield f"accuracy on {report.data}"
    if report.device:
        yield f"times on {report.device}"

def figures(report):
    names = {"dense": report.accuracy_dense, "before retraining": report.accuracy_masked,
             "after retraining": report.accuracy_retrained}
    yield from ((f"accuracy, {name}", f"{100 * share:.2f} %") for name, share in names.items() if share is not None)
    if report.ms_before and report.ms_after:
        yield "milliseconds, before and after", f"{report.ms_before:.3g} → {report.ms_after:.3g}"
        yield "speed-up", f"{report.ms_before / report.ms_after:.2f} ×"

def channels(report):
    for layer, (before, after) in report.permuted.items():
        yield layer, f"reordered: {100 * before:.1f} % of the norm would have stayed, {100 * after:.1f} % does"
    for layer, reason in report.left.items():
        yield layer, f"left as it is: {reason}"
%>\
## A group of bars for each layer, in units of the drawing, which is scaled to the width of the page. `series` are
## (name, class of the style sheet, a value per layer or None).
<%def name="bar_chart(title, unit, *series)">
<%
    left, top, bottom, right, plot, width = 56, 12, 34, 12, 190, 820
    ticks = axis_ticks(max((value for *_, values in series for value in values if value is not None), default=0.0))
    slot = (width - left - right) / max(len(report.layers), 1)
    bar = min(slot * 0.7 / len(series), 34.0)
    labelled = -(-len(report.layers) // 24)  # more labels than 24 would run into each other

    def y_of(value):
        return top + plot * (1 - value / ticks[-1])
%>\
<figure><figcaption>${title}
% if len(series) > 1:
<span class="legend">
% for name, style, _ in series:
<span class="key ${style}"></span>${name}
% endfor
</span>
% endif
</figcaption>
<svg viewBox="0 0 ${width} ${top + plot + bottom}" role="img" aria-label="${title}">
% for tick in ticks:
<line class="grid" x1="${left}" x2="${width - right}" y1="${f'{y_of(tick):.1f}'}" y2="${f'{y_of(tick):.1f}'}"/>
<text class="axis" x="${left - 8}" y="${f'{y_of(tick) + 4:.1f}'}" text-anchor="end">${f"{tick:.4g}"} ${unit}</text>
% endfor
% for place, layer in enumerate(report.layers):
<% middle = left + slot * (place + 0.5) %>\
% if place % labelled == 0:
<text class="axis" x="${f'{middle:.1f}'}" y="${top + plot + 20}" text-anchor="middle">${layer.layer}</text>
% endif
% for number_of, (name, style, values) in enumerate(series):
% if values[place] is not None:
<% x, y = middle + bar * (number_of - len(series) / 2), y_of(values[place]) %>\
<rect class="${style}" x="${f'{x + 1:.1f}'}" y="${f'{y:.1f}'}" width="${f'{bar - 2:.1f}'}"
 height="${f'{top + plot - y:.1f}'}">\
<title>layer ${layer.layer}, ${name}: ${f"{values[place]:.4g}"} ${unit}</title></rect>
% endif
% endfor
% endfor
</svg></figure>
</%def>\
<%def name="reasons(heading, rows)">
% if rows:
<h2>${heading}</h2><table><tbody>
% for layer, text in sorted(rows):
<tr><td class="text">${layer}</td><td class="why">${text}</td></tr>
% endfor
</tbody></table>
% endif
</%def>\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>${report.method}: ${report.model}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<%include file="page_style.html.mako"/></head><body>
<h1>Pruned by ${report.method}</h1>
<p class="soft">${" · ".join(subtitle(report))}</p>
<div class="tiles">
% for name, value in figures(report):
<div class="tile">${name}<b>${value}</b></div>
% endfor
</div>
% for line in report.warnings:
<p class="warning">${line}</p>
% endfor
<h2>Layers</h2>
${bar_chart("Weights that stay", "%", ("kept", "after", [100 * layer.kept_share for layer in report.layers]))}
% if any(layer.ms_after is not None for layer in report.layers):
${bar_chart("Time of each layer", "ms", ("dense", "before", [layer.ms_before for layer in report.layers]),
            ("pruned", "after", [layer.ms_after for layer in report.layers]))}
% endif
${bar_chart("Norm that went, before retraining", "%",
            ("removed norm", "error", [100 * layer.norm_error for layer in report.layers]))}
<div class="scroll"><table><thead><tr><th class="text">layer</th><th class="text">kind</th><th class="text">unit</th>
% for head in ("kept, asked", "kept", "norm gone", "columns a row block keeps", "imbalance"):
<th>${head}</th>
% endfor
% for head in ("ms before", "ms after", "speed-up"):
<th>${head}</th>
% endfor
</tr></thead><tbody>
% for layer in report.layers:
<tr><td class="text">${layer.layer}</td><td class="text">${layer.kind}</td><td class="text">${layer.unit}</td>
<td>${f"{100 * (1 - layer.sparsity):.1f}"} %</td><td>${f"{100 * layer.kept_share:.1f}"} %</td>
<td>${f"{100 * layer.norm_error:.1f}"} %</td><td>${columns_of(layer)}</td><td>${imbalance_of(layer)}</td>
<td>${number(layer.ms_before)}</td><td>${number(layer.ms_after)}</td>
<% speed_up = f"{layer.ms_before / layer.ms_after:.2f} ×" if layer.ms_before and layer.ms_after else "" %>\
<td${' class="slow"' if layer.gained_nothing else "" | n}>${speed_up}</td></tr>
% endfor
</tbody></table></div>
${reasons("Variants", [(choice.layer, f"{choice.variant}: {choice.reason}") for choice in report.choices])}
${reasons("Channels", list(channels(report)))}
</body></html>
