## Models that were fitted to budgets, as one page: what was promised and measured, and the choice for each layer.
## `results` are clprune.workflow.fit.FitResult of one model on one device, `axis_ticks(highest)` gives round numbers.
<%page expression_filter="h"/>\
<%!
def percent(share):
    return "" if share is None else f"{100 * share:.2f} %"

def number(value):
    return "" if value is None else f"{value:.4g}"
%>\
<%
    left, top, bottom, right, plot, width = 64, 12, 40, 16, 220, 820
    first = results[0]
    points = [(0.0, max(one.proof.dense_ms for one in results)), *((one.proof.points_lost, one.proof.fitted_ms) for one in results)]
    times, losses = axis_ticks(max(ms for _, ms in points)), axis_ticks(max(max(lost for lost, _ in points), 0.1))
    x_of = lambda ms: left + (width - left - right) * ms / times[-1]
    y_of = lambda lost: top + plot * (1 - max(lost, 0) / losses[-1])
%>\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Fitted: ${first.model.path}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<%include file="page_style.html.mako"/></head><body>
<h1>Fitted to ${"budgets" if len(results) > 1 else "a budget"}</h1>
<p class="soft">${first.model.path} · ${first.data} · ${first.device.name}</p>
<figure><figcaption>Points lost and milliseconds<span class="legend"><span class="key before"></span>dense<span class="key after"></span>fitted</span></figcaption>
<svg viewBox="0 0 ${width} ${top + plot + bottom}" role="img" aria-label="Points lost over milliseconds">
% for tick in losses:
<line class="grid" x1="${left}" x2="${width - right}" y1="${f'{y_of(tick):.1f}'}" y2="${f'{y_of(tick):.1f}'}"/>
<text class="axis" x="${left - 8}" y="${f'{y_of(tick) + 4:.1f}'}" text-anchor="end">${f"{tick:.3g}"}</text>
% endfor
% for tick in times:
<text class="axis" x="${f'{x_of(tick):.1f}'}" y="${top + plot + 20}" text-anchor="middle">${f"{tick:.3g}"} ms</text>
% endfor
% for place, (lost, ms) in enumerate(points):
<circle class="${'after' if place else 'before'}" cx="${f'{x_of(ms):.1f}'}" cy="${f'{y_of(lost):.1f}'}" r="6">\
<title>${f"{ms:.4g} ms, {lost:.2f} points"}</title></circle>
% endfor
</svg></figure>
<div class="scroll"><table><thead><tr>
% for name in ("budget, ms", "promised", "measured", "dense", "speed-up", "accuracy, dense", "fitted", "agreement", "points lost", "weights kept", "met"):
<th>${name}</th>
% endfor
</tr></thead><tbody>
% for one in results:
<tr>
% for value in (number(one.budget_ms), number(one.promised_ms), number(one.proof.fitted_ms), number(one.proof.dense_ms), f"{one.proof.dense_ms / one.proof.fitted_ms:.2f}", percent(one.proof.accuracy_dense), percent(one.proof.accuracy_fitted), percent(one.proof.agreement), f"{one.proof.points_lost:.2f}", percent(one.proof.weights_kept), "yes" if one.is_met else "no"):
<td>${value}</td>
% endfor
</tr>
% endfor
</tbody></table></div>
% for one in results:
<h2>${"Layers" if one.budget_ms is None else f"Layers at {one.budget_ms:.4g} ms"}</h2>
<div class="scroll"><table><thead><tr><th class="text">layer</th><th class="text">chosen</th><th>channels</th><th>ms</th><th>loss</th>
<th class="text">runners-up</th></tr></thead><tbody>
% for layer in one.layers:
<tr><td class="text">${layer.kind}</td><td class="text">${layer.chosen}</td><td>${f"{100 * layer.channels_kept:.0f} %"}</td>
<td>${number(layer.chosen.time_ms)}${"" if layer.chosen.is_time_measured else "*"}</td><td>${number(layer.chosen.loss)}</td>
<td class="why">${"; ".join(f"{other}: {other.time_ms:.4g} ms, loss {other.loss:.3g}" for other in layer.runners_up)}</td></tr>
% endfor
</tbody></table></div>
% endfor
<p class="soft">* interpolated between shares that were measured</p>
</body></html>
