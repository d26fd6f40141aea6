## How pages look, in light and dark mode, on paper and in a narrow window.
<style>
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
</style>
