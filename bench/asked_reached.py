"""What was asked and what was reached as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]
"""(asked, reached)."""


def draw_asked_reached(path: Path, panels: Mapping[str, Points], tolerance: float) -> None:
    """A PNG with a panel for each constraint: reached over asked, equality as a line, the tolerance as a band.

    Args:
        path: of the file.
        panels: title and points of each.
        tolerance: half the band's width, as a share of what was asked.
    """
    figure = Figure(figsize=(4.4 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        edge = 1.1 * max(value for point in points for value in point)
        ax.fill_between([0, edge], [0, edge * (1 - tolerance)], [0, edge * (1 + tolerance)], color="0.9", linewidth=0)
        ax.plot([0, edge], [0, edge], color="0.4", linewidth=1)
        ax.scatter([point[0] for point in points], [point[1] for point in points], s=18, alpha=0.8)
        ax.set(title=title, xlabel="asked", ylabel="reached", xlim=(0, edge), ylim=(0, edge), aspect="equal")
    figure.savefig(path, dpi=120, metadata={"Software": None})
