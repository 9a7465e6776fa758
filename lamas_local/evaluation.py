"""Policies on the same queries and seeds, interleaved so that a drift of the machine hits all alike."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from lamas_local.calibration import calibration_error
from lamas_local.config import Config
from lamas_local.cost_model import CostModel
from lamas_local.engine_config import answering
from lamas_local.executor import Executor, Plan
from lamas_local.latency import cost_usd, measure, proxy_agreement, requests
from lamas_local.policy import Policy
from lamas_local.tasks.base import Task
from lamas_local.trace import RolloutTrace


async def evaluate(
    policies: Mapping[str, Policy],
    task: Task,
    executor: Executor,
    config: Config,
    stop: asyncio.Event,
    on_rollout: Callable[[RolloutTrace], None],
    done: Collection[tuple[str, str]] = (),
) -> bool:
    """Run every policy on every test query, query by query, `max_queries_in_flight` rollouts at a time.

    `on_rollout` gets each as it ends; pairs of (policy, query id) in `done` are passed over. Which policy goes first
    changes from query to query. Returns False when `stop` ended it early; rollouts under way are finished.
    """
    plans = [
        plan
        for plan in plan_evaluation(policies, task, config.evaluation.num_queries)
        if (plan.policy, plan.example.query.id) not in done
    ]
    waiting = iter(plans)

    async def work() -> None:
        while not stop.is_set() and (plan := next(waiting, None)) is not None:
            on_rollout(await executor.run(plan))

    await asyncio.gather(*(work() for _ in range(config.evaluation.max_queries_in_flight)))
    return next(waiting, None) is None


def plan_evaluation(policies: Mapping[str, Policy], task: Task, num_queries: int) -> list[Plan]:
    """Every policy on every query, in the order in which they run."""
    plans: list[Plan] = []
    for index in range(num_queries):
        example = task.example("test", index)
        turn = index % len(policies)
        names = list(itertools.islice(itertools.cycle(policies), turn, turn + len(policies)))
        for name in names:
            policy = policies[name]
            architecture = policy.architecture(example.query)
            plans.append(Plan(example, architecture, policy.mode, name, policy.step, is_finalised=policy.is_finalised))
    return plans


def summarise(
    traces: Sequence[RolloutTrace], policies: Sequence[str], config: Config, model: CostModel | None = None
) -> dict[str, Any]:
    """`summary.json`: figures per policy, and over all of them the token proxy and the cost model beside the clock.

    The model is fitted to training rollouts, so these are held out.
    """
    evaluated = [trace for trace in traces if trace.policy in policies]
    agreement = proxy_agreement([measure(trace, config.latency) for trace in evaluated if trace.failure is None])
    return {
        "clock": "simulated" if answering(config.engine).kind == "simulated" else "measured",
        "policies": {
            name: summarise_policy([trace for trace in evaluated if trace.policy == name], config)
            for name in policies
            if any(trace.policy == name for trace in evaluated)
        },
        "comparison": {
            "pearson": agreement.pearson,
            "spearman": agreement.spearman,
            "critical_agreement": agreement.critical_agreement,
            "proxy_mape": agreement.proxy_mape,
            "calibrated_mape": None if model is None else calibration_error(evaluated, model).rollouts,
        },
    }


def summarise_policy(traces: Sequence[RolloutTrace], config: Config) -> dict[str, Any]:
    """One policy's figures. A failed query scores 0 and has no latency."""
    ran = [trace for trace in traces if trace.failure is None]
    scores = [trace.score or 0.0 for trace in traces]
    latencies = [measure(trace, config.latency) for trace in ran]
    seconds = [latency.wall_s for latency in latencies]
    return {
        "num_queries": len(traces),
        "num_failed": len(traces) - len(ran),
        "score": fmean(scores),
        "score_se": standard_error(scores),
        "cost_usd_mean": _mean([cost_usd(trace, config.objective) for trace in ran]),
        "cp_tokens_mean": _mean([latency.tokens.length for latency in latencies]),
        "proxy_latency_s_mean": _mean([latency.proxy_s for latency in latencies]),
        "wall_latency_s_mean": _mean(seconds),
        "wall_latency_s_se": standard_error(seconds),
        "wall_latency_s_p50": float(np.percentile(seconds, 50)) if seconds else None,
        "wall_latency_s_p95": float(np.percentile(seconds, 95)) if seconds else None,
        "num_operators_mean": _mean([float(sum(len(layer.operators) for layer in trace.layers)) for trace in ran]),
        "num_aborted_requests_mean": _mean([float(sum(span.is_aborted for span in requests(trace))) for trace in ran]),
    }


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None below two values."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
