"""The page's look, in the reader's own light or dark scheme."""

STYLESHEET = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1f2328;--muted:#626973;--edge:#dfe3e8;
--accent:#2f6fd0;--contrast:#d9770a;--training:#9aa2ad;--before:#b4bbc5;--warn:#fff4dc}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f24;--ink:#e6e8eb;--muted:#a0a8b2;--edge:#343a42;
--accent:#6ba4f5;--contrast:#f0a04b;--training:#7b8491;--before:#5d6672;--warn:#3a2f17}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 16px 64px}
h1{font-size:1.9rem;line-height:1.2;margin:.1em 0 .5em;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:0 0 .7em}
p{margin:.4em 0 .9em;overflow-wrap:anywhere}
header>.muted:first-child{margin:0}
.lead{font-size:1.13rem}
.muted,small{color:var(--muted);font-size:.9rem}
.gaps{background:var(--warn);border-radius:6px;padding:.5em .8em;font-size:.92rem}
section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:20px;margin:20px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:14px}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 18px}
.value{font-size:1.8rem;font-weight:650;line-height:1.3}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:26px 30px}
figure{margin:0;min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:2px 16px;align-items:baseline;margin-bottom:8px}
.keys{display:flex;flex-wrap:wrap;gap:0 14px;font-size:.85rem;color:var(--muted)}
.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.swatch.accent,.swatch.after{background:var(--accent)}.swatch.contrast{background:var(--contrast)}
.swatch.training{background:var(--training)}.swatch.before{background:var(--before)}
.chart{display:block;width:100%;height:auto;max-width:560px}
.chart .tick{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--muted)}
.chart .grid{stroke:var(--edge)}
.chart .diagonal{stroke:var(--muted);stroke-dasharray:5 4}
.chart .raw{opacity:.3}
.chart circle.accent{fill:var(--accent)}.chart circle.contrast{fill:var(--contrast)}
.chart circle.training{fill:var(--training);opacity:.45}.chart circle.dot.accent{opacity:.7}
.chart polyline{fill:none;stroke-width:2.5;stroke-linejoin:round}
.chart polyline.accent{stroke:var(--accent)}.chart polyline.contrast{stroke:var(--contrast)}
.chart .before{fill:var(--before)}.chart .after{fill:var(--accent)}
.scroll{overflow-x:auto;margin-bottom:14px}
.timeline{display:block;width:100%;min-width:720px;height:auto}
.timeline-box{border:1px solid var(--edge);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--edge);vertical-align:top}
.policies td{white-space:nowrap}.policies tbody th{min-width:9em;overflow-wrap:anywhere}
thead th{color:var(--muted);font-weight:500;white-space:nowrap}
tbody th{font-weight:600}
pre{background:var(--page);border-radius:6px;padding:10px 12px;margin:.4em 0 1em;overflow:auto;max-height:26em;
white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;font-size:.85rem}
details{margin:.6em 0 1.2em}
summary{cursor:pointer;color:var(--accent)}
"""
