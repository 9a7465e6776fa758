"""What a training run asked of the engine, and what it had to show for it: pure functions over its rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lamas_local.config import LatencyConfig
from lamas_local.cost_model import CostModel
from lamas_local.engine_load import timed_requests
from lamas_local.latency import measure
from lamas_local.trace import RolloutTrace


@dataclass(frozen=True, slots=True)
class Spent:
    """Of a training run."""

    num_updates: int
    num_rollouts: int
    num_runs: int
    """Operator runs that the engine made."""
    num_reused_runs: int
    prompt_tokens: int
    """Of the engine's runs; of them in the prefix cache: `cached_tokens`."""
    cached_tokens: int
    output_tokens: int
    """Failed and aborted requests have no count and are left out."""

    @property
    def tokens(self) -> int:
        """Prompt and output."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A training step."""

    tokens: int
    """That the engine had read and written by its end."""
    score: float
    seconds: float
    """Of a rollout on average, as the cost model says for the reference load; by the token proxy without a model."""


def spent(traces: Sequence[RolloutTrace]) -> Spent:
    """What training rollouts cost; each of a reused run's tokens was paid for once, where it ran."""
    operators = [span for trace in traces for layer in (*trace.layers, trace.finaliser) for span in layer.operators]
    ran = timed_requests(traces)
    return Spent(
        num_updates=len({trace.step for trace in traces}),
        num_rollouts=len(traces),
        num_runs=sum(not span.is_reused for span in operators),
        num_reused_runs=sum(span.is_reused for span in operators),
        prompt_tokens=sum(span.num_prompt_tokens for span in ran),
        cached_tokens=sum(span.num_cached_tokens for span in ran),
        output_tokens=sum(span.num_output_tokens for span in ran),
    )


def learning_curve(traces: Sequence[RolloutTrace], latency: LatencyConfig, model: CostModel | None) -> list[CurvePoint]:
    """Step by step, what had been spent and how the step's rollouts did; no point where all of them failed."""
    points: list[CurvePoint] = []
    tokens = 0
    for step in sorted({trace.step for trace in traces}):
        own = [trace for trace in traces if trace.step == step]
        tokens += spent(own).tokens
        lengths = [measure(trace, latency, model) for trace in own if trace.failure is None]
        if lengths:
            points.append(
                CurvePoint(
                    tokens=tokens,
                    score=fmean(trace.score or 0.0 for trace in own if trace.failure is None),
                    seconds=fmean(one.calibrated.length if one.calibrated else one.proxy_s for one in lengths),
                )
            )
    return points
