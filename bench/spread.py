"""Medians with their spread, and ratios of paired measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy import stats

BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far the values lie around it."""

    median: float
    q25: float
    q75: float
    min: float
    max: float
    num_values: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of paired ratios with a 95% bootstrap interval; the bounds are None below two pairs."""

    median: float
    low: float | None
    high: float | None
    num_pairs: int


def spread(values: Sequence[float]) -> Spread:
    """Median, quartiles (linear interpolation), smallest and largest of at least one value."""
    q25, q75 = (float(np.percentile(values, share)) for share in (25, 75))
    return Spread(float(median(values)), q25, q75, float(min(values)), float(max(values)), len(values))


def paired_ratio(ratios: Sequence[float]) -> Ratio:
    """Median of ratios of paired measurements; the bootstrap draws the ratios again.

    Pass one ratio per independent thing: repeats of one are not independent, so reduce them to their median first.
    """
    if len(ratios) < 2:
        return Ratio(float(median(ratios)), None, None, len(ratios))
    # Percentile, not BCa: BCa is undefined where resamples of a few ratios all have the same median.
    interval = stats.bootstrap(
        (np.asarray(ratios),),
        np.median,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return Ratio(float(median(ratios)), float(interval.low), float(interval.high), len(ratios))
