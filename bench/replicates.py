"""Figures of several policies on the same queries, with 95% intervals over seeds, or over the queries of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.outcome import Outcome

NUM_RESAMPLES = 2000
RESAMPLING_SEED = 0
Columns = npt.NDArray[np.float64]
"""A policy's outcomes, shape (num_queries, 5): score, cost, CP tokens, seconds, whether it failed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy over the queries of one seed. A failed query scores 0 and has no part in the other figures."""

    score: float
    cost_usd: float
    cp_tokens: float
    seconds: float
    seconds_p50: float
    seconds_p95: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% interval; the bounds are None where one value stands alone."""

    value: float
    low: float | None
    high: float | None


Statistic = Callable[[Mapping[str, Figures]], float]
"""From the figures of every policy to one number, such as a difference of two."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """What was seen, and how it varies: the seeds themselves, or the one seed's queries drawn again with replacement.

    Every replicate holds all policies on the same queries, so that differences are paired.
    """

    kind: Literal["seeds", "queries"]
    seen: tuple[Mapping[str, Figures], ...]
    """Per seed, the figures by policy."""
    resampled: tuple[Mapping[str, Figures], ...] = ()

    def estimate(self, statistic: Statistic) -> Estimate:
        """Mean over seeds with Student's t interval; for one seed its own value with the bootstrap's percentiles."""
        values = [statistic(figures) for figures in self.seen]
        value = fmean(values)
        if self.kind == "queries":
            low, high = np.percentile([statistic(figures) for figures in self.resampled], (2.5, 97.5))
            return Estimate(value, float(low), float(high))
        half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        return Estimate(value, value - half, value + half)


def replicate(outcomes: Sequence[Sequence[Outcome]]) -> Replicates:
    """Replicates of evaluations, one a seed; each holds every policy once on every query of its seed.

    Raises:
        ValueError: a policy lacks a query that another has.
    """
    tables = [by_policy(own) for own in outcomes]
    seen = tuple({name: figures_of(table) for name, table in tables_of.items()} for tables_of in tables)
    if len(tables) > 1:
        return Replicates("seeds", seen)
    rng = np.random.default_rng(RESAMPLING_SEED)
    num_queries = len(next(iter(tables[0].values())))
    resampled = []
    for _ in range(NUM_RESAMPLES):
        rows = rng.integers(num_queries, size=num_queries)
        resampled.append({name: figures_of(table[rows]) for name, table in tables[0].items()})
    return Replicates("queries", seen, tuple(resampled))


def by_policy(outcomes: Sequence[Outcome]) -> dict[str, Columns]:
    """Each policy's outcomes, its queries in one order for all."""
    rows: dict[str, dict[str, tuple[float, ...]]] = {}
    for one in outcomes:
        values = (one.score, one.cost_usd, one.cp_tokens, one.seconds, float(one.is_failed))
        rows.setdefault(one.policy, {})[one.query] = values
    queries = sorted({query for own in rows.values() for query in own})
    for name, own in rows.items():
        if len(own) < len(queries):
            raise ValueError(f"{name} ran on {len(own)} of {len(queries)} queries")
    return {name: np.array([own[query] for query in queries]) for name, own in rows.items()}


def figures_of(table: Columns) -> Figures:
    """Of one policy's outcomes; not a number where every query failed."""
    ran = table[table[:, 4] == 0.0]
    cost, cp_tokens, seconds = (ran[:, i] if len(ran) else np.array([np.nan]) for i in (1, 2, 3))
    p50, p95 = np.percentile(seconds, (50, 95))
    return Figures(
        score=float(table[:, 0].mean()),
        cost_usd=float(cost.mean()),
        cp_tokens=float(cp_tokens.mean()),
        seconds=float(seconds.mean()),
        seconds_p50=float(p50),
        seconds_p95=float(p95),
    )
