"""Predicted against measured seconds as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

Points = Sequence[tuple[float, float, int]]
"""(measured seconds, predicted seconds, concurrency)."""


def draw_scatter(path: Path, panels: Mapping[str, Points]) -> None:
    """A PNG with a panel for each predictor: both axes logarithmic and alike, coloured by concurrency.

    Args:
        path: of the file.
        panels: title and points of each; the points that are not above 0 have no place on such axes.
    """
    shown = {title: [point for point in points if min(point) > 0] for title, points in panels.items()}
    values = [
        value for points in shown.values() for measured, predicted, _ in points for value in (measured, predicted)
    ]
    levels = sorted({concurrency for points in shown.values() for *_, concurrency in points})
    colours = matplotlib.colormaps["viridis"]
    figure = Figure(figsize=(5 * len(panels), 4.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, points) in zip(axes, shown.items(), strict=True):
        for i, level in enumerate(levels):
            mine = [point for point in points if point[2] == level]
            colour = colours(i / max(len(levels) - 1, 1))
            ax.scatter([p[0] for p in mine], [p[1] for p in mine], s=14, color=colour, label=str(level), alpha=0.8)
        if values:
            bounds = (min(values) / 1.2, max(values) * 1.2)
            ax.plot(bounds, bounds, color="0.4", linewidth=1)
            ax.set(xscale="log", yscale="log", xlim=bounds, ylim=bounds, aspect="equal")
        ax.set(title=title, xlabel="measured seconds")
    axes[0].set_ylabel("predicted seconds")
    if levels:
        axes[-1].legend(title="rollouts at once", fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})
