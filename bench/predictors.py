"""What predicts a rollout's seconds, and how well: token proxies, the cost model, a regression on counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lamas_local.calibration import is_held_out
from lamas_local.config import LatencyConfig
from lamas_local.cost_model import CostModel, Seconds, Work, fit_cost_model, mape
from lamas_local.critical_path import critical_path
from lamas_local.engine_load import observe, spans, timed_requests
from lamas_local.latency import Latency, measure, proxy_agreement
from lamas_local.retiming import at_reference, under_own_load
from lamas_local.trace import RolloutTrace

Floats = npt.NDArray[np.float64]
COUNTS = ("cp_tokens", "output_tokens", "prompt_tokens", "cached_tokens", "calls", "waiting_s", "tool_s")
"""What the regression explains seconds by."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rollouts at one concurrency, in one go: all that ran on the engine from the first of them to the last."""

    concurrency: int
    traces: tuple[RolloutTrace, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One measured rollout and what was predicted of it. Seconds are of the whole rollout."""

    concurrency: int
    query_id: str
    is_held_out: bool
    seconds: float
    calibrated_s: float
    """Under the load that its requests met: how many ran beside each on average, and the prompt tokens that were
    prefilled meanwhile. That is read from the stamps; how long anything took is not."""
    reference_s: float
    """With no other query running."""
    cp_tokens: float
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int
    calls: int
    waiting_s: float
    """Of all its requests together, before their first step."""
    tool_s: float


@dataclass(frozen=True, slots=True)
class Predictors:
    """Fitted to the rollouts that are not held out, over all levels."""

    model: CostModel
    slope_s_per_token: float
    """Of the one-slope token proxy with the least mean relative error."""


def is_new(trace: RolloutTrace) -> bool:
    """Whether the rollout is kept from every fit: half of the queries are, at every level the same."""
    return is_held_out(trace.query_id)


def fit_predictors(blocks: Sequence[Block]) -> Predictors:
    """Fit to the rollouts that are not held out; those that are held out count only as load."""
    fitted_to = [trace for block in blocks for trace in block.traces if not is_new(trace)]
    return Predictors(fit_cost_model(*_requests(blocks, new=False)), token_slope(fitted_to))


def _requests(blocks: Sequence[Block], *, new: bool) -> tuple[Work, Seconds]:
    """The requests of held-out rollouts or of the others, with the load of all."""
    tables = []
    for block in blocks:
        work, seconds = observe(timed_requests(block.traces))
        wanted = np.array([is_new(trace) == new for trace in block.traces for _ in timed_requests([trace])], dtype=bool)
        tables.append((work.rows(wanted), seconds.rows(wanted)))
    return Work.join([work for work, _ in tables]), Seconds.join([seconds for _, seconds in tables])


def token_slope(traces: Sequence[RolloutTrace]) -> float:
    """The k with the least mean of `|k * CP tokens - seconds| / seconds`: a weighted median of seconds per token."""
    pairs = [(critical_path(trace, "tokens").length, trace.ended - trace.started) for trace in traces]
    tokens, seconds = np.array([pair for pair in pairs if min(pair) > 0]).reshape(-1, 2).T
    ratios, weights = seconds / tokens, tokens / seconds
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(ratios[order][half])


def describe_rollouts(block: Block, model: CostModel) -> list[Rollout]:
    """Every rollout of a block with its counts and predictions."""
    return [
        _describe(trace, block.concurrency, predicted.ended, at_reference(trace, model, 0).ended)
        for trace, predicted in zip(block.traces, under_own_load(block.traces, model), strict=True)
    ]


def _describe(trace: RolloutTrace, concurrency: int, calibrated_s: float, reference_s: float) -> Rollout:
    requests = timed_requests([trace])
    return Rollout(
        concurrency=concurrency,
        query_id=trace.query_id,
        is_held_out=is_new(trace),
        seconds=trace.ended - trace.started,
        calibrated_s=calibrated_s,
        reference_s=reference_s,
        cp_tokens=critical_path(trace, "tokens").length,
        output_tokens=sum(span.num_output_tokens for span in requests),
        prompt_tokens=sum(span.num_prompt_tokens for span in requests),
        cached_tokens=sum(span.num_cached_tokens for span in requests),
        calls=len(requests),
        waiting_s=float(observe(requests)[1].wait.sum()),
        tool_s=sum(span.ended - span.started for span in spans(trace) if span.kind == "tool"),
    )


@dataclass(frozen=True, slots=True)
class Level:
    """One concurrency; every figure but the slope is of its held-out rollouts. None where undefined."""

    concurrency: int
    num_rollouts: int
    num_held_out: int
    seconds_mean: float | None
    running_mean: float | None
    """Requests in the engine's batch, averaged over a request's decode."""
    pearson: float | None
    """Of CP tokens and seconds."""
    spearman: float | None
    slope_s_per_token: float | None
    """Of the best token proxy for this level alone, fitted to its other rollouts."""
    raw_proxy_mape: float | None
    """Of CP tokens over `latency.tokens_per_second`."""
    one_slope_mape: float | None
    """Of the slope for all levels."""
    level_slope_mape: float | None
    """Of this level's own slope."""
    calibrated_mape: float | None
    calibrated_request_mape: float | None
    calibrated_pearson: float | None
    calibrated_spearman: float | None
    reference_mape: float | None
    """Of what the model predicts for a query alone; it says something where the concurrency is 1."""
    critical_agreement: float | None
    """Share of layers with a choice where tokens and clock name the same operator."""
    calibrated_critical_agreement: float | None


def compare_level(concurrency: int, blocks: Sequence[Block], predictors: Predictors, config: LatencyConfig) -> Level:
    """The predictors on one level's blocks."""
    traces = [trace for block in blocks for trace in block.traces]
    fitted_to = [trace for trace in traces if not is_new(trace)]
    rollouts = [one for block in blocks for one in describe_rollouts(block, predictors.model) if one.is_held_out]
    seconds = [one.seconds for one in rollouts]
    tokens = np.array([one.cp_tokens for one in rollouts])
    latencies = [
        (measure(trace, config), predicted)
        for block in blocks
        for trace, predicted in zip(block.traces, under_own_load(block.traces, predictors.model), strict=True)
        if is_new(trace)
    ]
    by_tokens = proxy_agreement([latency for latency, _ in latencies])
    by_model = proxy_agreement([_in_place_of_tokens(latency, predicted) for latency, predicted in latencies])
    slope = token_slope(fitted_to) if fitted_to else None
    work, request_seconds = _requests(blocks, new=True)
    return Level(
        concurrency=concurrency,
        num_rollouts=len(traces),
        num_held_out=len(rollouts),
        seconds_mean=float(np.mean(seconds)) if seconds else None,
        running_mean=float(np.mean(work.decode_running)) if len(work) else None,
        pearson=by_tokens.pearson,
        spearman=by_tokens.spearman,
        slope_s_per_token=slope,
        raw_proxy_mape=by_tokens.proxy_mape,
        one_slope_mape=mape(predictors.slope_s_per_token * tokens, seconds),
        level_slope_mape=None if slope is None else mape(slope * tokens, seconds),
        calibrated_mape=mape([one.calibrated_s for one in rollouts], seconds),
        calibrated_request_mape=mape(predictors.model.predict(work).total, request_seconds.total),
        calibrated_pearson=by_model.pearson,
        calibrated_spearman=by_model.spearman,
        reference_mape=mape([one.reference_s for one in rollouts], seconds),
        critical_agreement=by_tokens.critical_agreement,
        calibrated_critical_agreement=by_model.critical_agreement,
    )


def _in_place_of_tokens(latency: Latency, predicted: RolloutTrace) -> Latency:
    """The model's path where the proxy's stands, so that both are compared with the clock in the same way."""
    return replace(latency, tokens=critical_path(predicted, "seconds"), tokens_per_second=1.0)


def regress(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Seconds on each count alone and on all of them, by least squares with an intercept, over all rollouts.

    Returns:
        `alone`: per count its R2; `together`: R2 of all, the intercept in seconds and each count's seconds per unit.
        A count that never varies has neither.
    """
    seconds = np.array([one.seconds for one in rollouts])
    columns = {name: np.array([getattr(one, name) for one in rollouts], dtype=float) for name in COUNTS}
    varying = {name: column for name, column in columns.items() if np.ptp(column) > 0}
    r2, solution = _least_squares(list(varying.values()), seconds)
    alone: Mapping[str, float | None] = {
        name: _least_squares([varying[name]], seconds)[0] if name in varying else None for name in COUNTS
    }
    coefficients = dict(zip(varying, solution[1:], strict=True))
    return {
        "num_rollouts": len(rollouts),
        "alone": alone,
        "together": {
            "r2": r2,
            "intercept_s": solution[0],
            "s_per_unit": {name: coefficients.get(name) for name in COUNTS},
        },
    }


def _least_squares(columns: Sequence[Floats], target: Floats) -> tuple[float | None, list[float]]:
    """(R2, [intercept, coefficients]); R2 is None where the target never varies."""
    design = np.column_stack([np.ones(len(target)), *columns])
    # Columns of unit size, so that seconds and tokens are told apart as well as tokens and tokens.
    scale = np.abs(design).max(axis=0)
    solution = np.linalg.lstsq(design / scale, target, rcond=None)[0] / scale
    around_mean = float(np.sum((target - target.mean()) ** 2))
    residual = float(np.sum((target - design @ solution) ** 2))
    return (1 - residual / around_mean if around_mean > 0 else None), [float(value) for value in solution]
