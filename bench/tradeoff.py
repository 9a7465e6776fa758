"""Score against seconds as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.ablation_table import Row
from bench.replicates import Estimate
from bench.sweep import TrainingEnd
from lamas_local.policy import FIXED

MARKERS = "os^vDPX*"


def draw_tradeoff(path: Path, rows: Sequence[Row], sweeps: Mapping[str, Sequence[TrainingEnd]]) -> None:
    """A PNG of two panels: test queries with 95% intervals, and the ends of the trainings over the swept weights."""
    names = [row.name.partition("@")[0] for row in rows]
    colours = matplotlib.colormaps["tab20"]
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    test, training = figure.subplots(1, 2)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        score, seconds = row.estimates["score"], row.estimates["seconds"]
        is_fixed = name.startswith(FIXED)
        style = {
            "color": "0.45" if is_fixed else colours(i % 20),
            "marker": MARKERS[i % len(MARKERS)],
            "markerfacecolor": "none" if is_fixed else None,
            "label": row.name,
        }
        test.errorbar(
            [seconds.value], [score.value], xerr=_bars(seconds), yerr=_bars(score), linestyle="none", capsize=2, **style
        )
        if name in sweeps:
            ends = sweeps[name]
            training.plot([end.seconds for end in ends], [end.score for end in ends], **style)
    _label(test, "test queries, one weight each", "seconds of a query (mean)")
    _label(training, "last quarter of training, every weight", "seconds of a rollout in a full batch (mean)")
    figure.legend(*test.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _bars(estimate: Estimate) -> list[list[float]]:
    # A bootstrap's percentiles need not hold the value itself.
    return [[max(estimate.value - estimate.low, 0.0)], [max(estimate.high - estimate.value, 0.0)]]


def _label(axes: Axes, title: str, xlabel: str) -> None:
    axes.set(title=title, xlabel=xlabel, ylabel="score")
    axes.grid(alpha=0.3)
