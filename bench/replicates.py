"""Figures of several policies on the same queries, with 95% intervals over seeds, or over the queries of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.outcome import Outcome

NUM_RESAMPLES = 2000
RESAMPLING_SEED = 0
Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.float64]
"""A policy's outcomes, shape (..., num_queries, 4): score, then cost, CP tokens and seconds, not a number where it
failed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy, a value a replicate in each field: of a seed's queries, or of queries drawn again from those of one.

    A failed query scores 0 and has no part in the other figures.
    """

    score: Floats
    cost_usd: Floats
    cp_tokens: Floats
    seconds: Floats
    seconds_p50: Floats
    seconds_p95: Floats

    def rows(self) -> list[dict[str, float]]:
        """The values of each replicate by name."""
        names = [field.name for field in fields(self)]
        columns: list[Floats] = [getattr(self, name) for name in names]
        return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


Statistic = Callable[[Mapping[str, Figures]], Floats]
"""From the figures of every policy to one number a replicate, such as a difference of two."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """What was seen, and how it varies. Every replicate holds all policies on the same queries, so that differences
    are paired."""

    kind: Literal["seeds", "queries"]
    seen: Mapping[str, Figures]
    """By policy; a value a seed."""
    resampled: Mapping[str, Figures] | None = None
    """Where one seed ran: a value for each time that its queries were drawn again, with replacement."""

    def estimate(self, statistic: Statistic) -> Estimate:
        """Mean over seeds with Student's t interval; for one seed its own value with the bootstrap's percentiles."""
        values = statistic(self.seen)
        value = float(values.mean())
        if self.resampled is not None:
            low, high = np.percentile(statistic(self.resampled), (2.5, 97.5))
            return Estimate(value, float(low), float(high))
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
        return Estimate(value, value - half, value + half)


def replicate(outcomes: Sequence[Sequence[Outcome]]) -> Replicates:
    """Replicates of evaluations, one a seed; each holds the same policies, each once on every query of its seed.

    Raises:
        ValueError: a policy lacks a query that another has.
    """
    seeds = [by_policy(own) for own in outcomes]
    seen = {name: figures_of(np.stack([tables[name] for tables in seeds])) for name in seeds[0]}
    if len(seeds) > 1:
        return Replicates("seeds", seen)
    num_queries = len(next(iter(seeds[0].values())))
    drawn = np.random.default_rng(RESAMPLING_SEED).integers(num_queries, size=(NUM_RESAMPLES, num_queries))
    return Replicates("queries", seen, {name: figures_of(table[drawn]) for name, table in seeds[0].items()})


def by_policy(outcomes: Sequence[Outcome]) -> dict[str, Columns]:
    """Each policy's outcomes, shape (num_queries, 4), its queries in one order for all."""
    rows: dict[str, dict[str, tuple[float, ...]]] = {}
    for one in outcomes:
        measured = (one.cost_usd, one.cp_tokens, one.seconds)
        rows.setdefault(one.policy, {})[one.query] = (one.score, *((np.nan,) * 3 if one.is_failed else measured))
    queries = sorted({query for own in rows.values() for query in own})
    for name, own in rows.items():
        if len(own) < len(queries):
            raise ValueError(f"{name} ran on {len(own)} of {len(queries)} queries")
    return {name: np.array([own[query] for query in queries]) for name, own in rows.items()}


def figures_of(tables: Columns) -> Figures:
    """Of one policy's tables, shape (num_replicates, num_queries, 4); not a number where every query failed."""
    score, cost_usd, cp_tokens, seconds = np.moveaxis(tables, -1, 0)
    # Numpy's own for missing values are many times slower, and failures are rare.
    have_failed = bool(np.isnan(seconds).any())
    mean: Any = np.nanmean if have_failed else np.mean
    percentile: Any = np.nanpercentile if have_failed else np.percentile
    p50, p95 = percentile(seconds, (50, 95), axis=1)
    return Figures(score.mean(axis=1), mean(cost_usd, axis=1), mean(cp_tokens, axis=1), mean(seconds, axis=1), p50, p95)
