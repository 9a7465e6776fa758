"""What a rollout cost, by every signal: pure functions over traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from lamas_local.config import LatencyConfig, ObjectiveConfig
from lamas_local.cost_model import CostModel
from lamas_local.critical_path import CriticalPath, critical_path
from lamas_local.retiming import at_reference
from lamas_local.trace import RequestSpan, RolloutTrace


@dataclass(frozen=True, slots=True)
class Latency:
    """One rollout's length by every signal; tokens and seconds exist always."""

    tokens: CriticalPath
    """Critical path in output tokens."""
    seconds: CriticalPath
    """Critical path in measured seconds."""
    tokens_per_second: float
    wall_s: float
    """From the rollout's first event to its last."""
    calibrated: CriticalPath | None = None
    """Critical path in seconds as predicted for the reference load; None before there is a model."""
    is_live: bool = True
    """Whether `seconds` and `wall_s` are those of a whole run: nothing of it was reused."""

    @property
    def proxy_s(self) -> float:
        """The papers' proxy, `CP / tokens_per_second`, in seconds."""
        return self.tokens.length / self.tokens_per_second


def measure(trace: RolloutTrace, config: LatencyConfig, model: CostModel | None = None) -> Latency:
    """The critical paths of a rollout, the calibrated one by `model`."""
    return Latency(
        tokens=critical_path(trace, "tokens", config.tokens_per_second),
        seconds=critical_path(trace, "seconds"),
        tokens_per_second=config.tokens_per_second,
        wall_s=trace.ended - trace.started,
        calibrated=None
        if model is None
        else critical_path(at_reference(trace, model, config.reference_load), "seconds"),
        is_live=trace.is_live,
    )


def signal_path(latency: Latency, config: LatencyConfig) -> tuple[float, CriticalPath, float]:
    """What the penalty is made of: L in seconds, the path that names who is critical, and seconds per unit of it."""
    if used_signal(latency, config) == "tokens":
        return latency.proxy_s, latency.tokens, 1.0 / latency.tokens_per_second
    path = latency.seconds if used_signal(latency, config) == "measured" else latency.calibrated
    assert path is not None
    return path.length, path, 1.0


def used_signal(latency: Latency, config: LatencyConfig) -> str:
    """The signal of `signal_path`: the one asked for, but for `calibrated` before there is a model `measured`, or
    `tokens` where something was reused."""
    if config.signal != "calibrated" or latency.calibrated is not None:
        return config.signal
    return "measured" if latency.is_live else "tokens"


def requests(trace: RolloutTrace) -> list[RequestSpan]:
    """Every request of a rollout, the finaliser's included."""
    return [
        span
        for layer in (*trace.layers, trace.finaliser)
        for operator in layer.operators
        for step in operator.steps
        for span in step
        if span.kind == "request"
    ]


def cost_usd(trace: RolloutTrace, prices: ObjectiveConfig) -> float:
    """Price of a rollout's tokens in USD; each request carries its own usage."""
    return (
        sum(
            span.num_prompt_tokens * prices.usd_per_million_input_tokens
            + span.num_output_tokens * prices.usd_per_million_output_tokens
            for span in requests(trace)
        )
        / 1e6
    )


@dataclass(frozen=True, slots=True)
class ProxyAgreement:
    """How well the token proxy stands for the clock over some rollouts. None where it is undefined."""

    pearson: float | None
    spearman: float | None
    critical_agreement: float | None
    """Share of layers where proxy and clock name the same critical operator, of those that leave a choice: at least
    two operators that did not run one after another, and not passed by by both paths."""
    proxy_mape: float | None
    """Mean absolute error of proxy seconds relative to measured seconds."""


def proxy_agreement(latencies: Sequence[Latency]) -> ProxyAgreement:
    """Proxy against clock over rollouts that ran."""
    proxy = [latency.proxy_s for latency in latencies]
    clock = [latency.wall_s for latency in latencies]
    varies = len(set(proxy)) > 1 and len(set(clock)) > 1 and len(proxy) > 2
    same = [
        by_tokens == by_clock
        for latency in latencies
        for lengths, by_tokens, by_clock in zip(
            latency.tokens.operators, latency.tokens.critical, latency.seconds.critical, strict=True
        )
        if len(by_tokens) < len(lengths) > 1 and (by_tokens or by_clock)  # a dataflow's path may pass a layer by
    ]
    errors = [abs(p - c) / c for p, c in zip(proxy, clock, strict=True) if c > 0]
    return ProxyAgreement(
        pearson=_finite(stats.pearsonr(proxy, clock).statistic) if varies else None,
        spearman=_finite(stats.spearmanr(proxy, clock).statistic) if varies else None,
        critical_agreement=sum(same) / len(same) if same else None,
        proxy_mape=sum(errors) / len(errors) if errors else None,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
