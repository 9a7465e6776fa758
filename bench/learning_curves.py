"""Score and seconds against engine tokens as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from bench.spending import CurvePoint

WINDOW = 5
"""Steps that a point of a line is the mean of, itself the last."""


def draw_curves(path: Path, curves: Mapping[str, Sequence[CurvePoint]]) -> None:
    """A PNG with two panels over the same logarithmic axis of tokens: the steps as dots, running means as lines."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    for index, (name, points) in enumerate(curves.items()):
        tokens = [point.tokens for point in points]
        for ax, values in zip(axes, ([p.score for p in points], [p.seconds for p in points]), strict=True):
            ax.plot(tokens, values, ".", color=f"C{index}", alpha=0.35)
            ax.plot(tokens, running_mean(values), color=f"C{index}", label=name)
    for ax, title in zip(axes, ("score of a step's rollouts", "their seconds, calibrated"), strict=True):
        ax.set(title=title, xlabel="prompt and output tokens of the engine", xscale="log", ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def running_mean(values: Sequence[float]) -> list[float]:
    """At each position the mean of it and the `WINDOW - 1` before it, as far as there are any."""
    return [fmean(values[max(0, i + 1 - WINDOW) : i + 1]) for i in range(len(values))]
