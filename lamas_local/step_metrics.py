"""What a training step says of itself: a line of `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from lamas_local.calibration import CalibrationError, calibration_error
from lamas_local.config import Config
from lamas_local.controller import Controller, Draw
from lamas_local.cost_model import CostModel
from lamas_local.engine_load import timed_requests
from lamas_local.latency import Latency, cost_usd, proxy_agreement, requests, used_signal
from lamas_local.trace import RolloutTrace

Metrics = dict[str, Any]


def summarise_batch(
    traces: Sequence[RolloutTrace], latencies: Sequence[Latency], config: Config, latency_weight: float | None = None
) -> Metrics:
    """Means over a batch, the penalty under each signal side by side, and how well the proxy stands for the clock."""
    ran = [(trace, latency) for trace, latency in zip(traces, latencies, strict=True) if trace.failure is None]
    live = [latency for _, latency in ran if latency.is_live]  # of the others, the clock says nothing
    agreement = proxy_agreement(live)
    calibrated = [latency.calibrated.length for _, latency in ran if latency.calibrated is not None]
    weight = config.objective.latency_weight if latency_weight is None else latency_weight
    return {
        "score": fmean(trace.score or 0.0 for trace, _ in ran),
        "wall_latency_s": fmean(latency.wall_s for latency in live) if live else None,
        "calibrated_latency_s": fmean(calibrated) if calibrated else None,
        "proxy_latency_s": fmean(latency.proxy_s for _, latency in ran),
        "cp_tokens": fmean(latency.tokens.length for _, latency in ran),
        "output_tokens": fmean(sum(span.num_output_tokens for span in requests(trace)) for trace, _ in ran),
        "cost_usd": fmean(cost_usd(trace, config.objective) for trace, _ in ran),
        "penalty_tokens": weight * fmean(latency.proxy_s for _, latency in ran),
        "penalty_measured": weight * fmean(latency.seconds.length for latency in live) if live else None,
        "penalty_calibrated": weight * fmean(calibrated) if calibrated else None,
        "latency_signal": used_signal(ran[0][1], config.latency),
        "pearson": agreement.pearson,
        "spearman": agreement.spearman,
        "critical_agreement": agreement.critical_agreement,
        "num_operators": fmean(sum(len(layer.operators) for layer in trace.layers) for trace, _ in ran),
        "num_failed": len(traces) - len(ran),
    }


def summarise_engine_use(traces: Sequence[RolloutTrace]) -> Metrics:
    """What the engine did for a batch; the batch's other figures are of whole rollouts, whatever of them was reused."""
    operators = [span for trace in traces for layer in (*trace.layers, trace.finaliser) for span in layer.operators]
    ran = timed_requests(traces)
    return {
        "num_runs": sum(not span.is_reused for span in operators),
        "num_reused_runs": sum(span.is_reused for span in operators),
        "engine_prompt_tokens": sum(span.num_prompt_tokens for span in ran),
        "engine_cached_tokens": sum(span.num_cached_tokens for span in ran),
        "engine_output_tokens": sum(span.num_output_tokens for span in ran),
    }


def summarise_calibration(traces: Sequence[RolloutTrace], model: CostModel | None) -> Metrics:
    """How far the model is from rollouts that it was not fitted to, under the load they had."""
    error = CalibrationError(None, None) if model is None else calibration_error(traces, model)
    return {"calibrated_mape": error.rollouts, "calibrated_request_mape": error.requests}


def mean_probabilities(draws: Sequence[Draw], controller: Controller) -> list[Mapping[str, float] | None]:
    """Per layer, each operator's probability averaged over the draws that reached it; None where none did."""
    layers: list[Mapping[str, float] | None] = []
    for layer in range(controller.config.num_layers):
        reached = [draw.log_probabilities[layer].detach() for draw in draws if layer < len(draw.log_probabilities)]
        mean = torch.stack(reached).exp().mean(dim=0).tolist() if reached else None
        layers.append(None if mean is None else dict(zip(controller.names, mean, strict=True)))
    return layers
