"""The page: reads the run folder, puts the sections together, writes one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamas_local.report.figures import learning_curves, probability_figures
from lamas_local.report.headline import (
    comparison_table,
    constraint_sentence,
    policies_table,
    result_sentence,
    run_sentence,
    tiles,
)
from lamas_local.report.markup import details, escape, table
from lamas_local.report.rollouts import proxy_scatter, timelines
from lamas_local.report.run_folder import RunFolder, number, read_run, section
from lamas_local.report.stylesheet import STYLESHEET


def write_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from what the run folder holds, and return its path.

    Raises:
        ConfigError: `run_dir` is not a run folder.
    """
    run = read_run(run_dir)
    path = run_dir / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def render(run: RunFolder) -> str:
    """The whole page; sections without data are left out, and the page says which files were missing."""
    sections = (
        _headline(run),
        _learning(run),
        _proxy(run),
        _probabilities(run),
        _timeline(run),
        _setting(run),
    )
    name = escape(run.name)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # Second lock after escaping: nothing on this page may run or load.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{name} – lamas-local report</title>\n<style>{STYLESHEET}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _headline(run: RunFolder) -> str:
    gaps = f'<p class="gaps">Incomplete run: {escape("; ".join(run.gaps))}.</p>' if run.gaps else ""
    policies = policies_table(run) if run.policies else ""
    constraint = f"<p>{escape(constraint_sentence(run))}</p>" if run.constraint else ""
    return (
        f'<header><p class="muted">lamas-local report</p><h1>{escape(run.name)}</h1>'
        f'<p class="lead">{escape(result_sentence(run))}</p>'
        f'{constraint}<p class="muted">{escape(run_sentence(run))}</p>{gaps}</header>'
        f"{tiles(run)}" + (_section("Policies", policies) if policies else "")
    )


def _learning(run: RunFolder) -> str:
    charts = learning_curves(run.metrics)
    note = '<p class="muted">Dots are single steps, lines their exponential moving average (0.9).</p>'
    return _section("Learning", f'{note}<div class="grid">{charts}</div>') if charts else ""


def _proxy(run: RunFolder) -> str:
    scatter = proxy_scatter(run)
    numbers = comparison_table(run) if run.comparison else ""
    note = f'<p class="muted">{escape(_load_note(run))}</p>' if scatter else ""
    return (
        _section("Can the token proxy be trusted?", f'<div class="grid">{scatter}<div>{numbers}{note}</div></div>')
        if numbers or scatter
        else ""
    )


def _load_note(run: RunFolder) -> str:
    trainer, evaluation = section(run.config, "trainer"), section(run.config, "evaluation")
    queries, rollouts = number(trainer, "queries_per_step"), number(trainer, "rollouts_per_query")
    in_flight = number(evaluation, "max_queries_in_flight")
    batch = f"{queries * rollouts:g} rollouts" if queries and rollouts else "a batch of rollouts"
    evaluated = f", in evaluation {in_flight:g} at a time" if in_flight else ""
    return (
        f"r is Pearson's correlation within a group. In training {batch} share the engine{evaluated}: measured seconds "
        f"include that load, proxy seconds (tokens / {run.tokens_per_second:g}) do not."
    )


def _probabilities(run: RunFolder) -> str:
    charts = probability_figures(run.metrics) if run.metrics else ""
    note = '<p class="muted">Mean over the queries of the first and of the last training step.</p>'
    return _section("What the controller draws", f'{note}<div class="grid">{charts}</div>') if charts else ""


def _timeline(run: RunFolder) -> str:
    blocks = timelines(run)
    note = (
        '<p class="muted">A rollout of median duration, a row for each request, and the initial policy on the same '
        "query where it was evaluated. The ground behind an operator's bars is its whole duration. "
        "Hover over a bar for its figures.</p>"
    )
    return _section("One query on the clock", note + blocks) if blocks else ""


def _setting(run: RunFolder) -> str:
    parts = []
    if run.environment:
        parts.append(details("Environment", table(("what", "value"), _flat(run.environment))))
    if run.config_text:
        parts.append(details("Configuration", f"<pre>{escape(run.config_text)}</pre>"))
    return _section("Setting", "".join(parts)) if parts else ""


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>\n"
