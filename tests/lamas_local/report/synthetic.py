"""Made-up run folders: realistic in shape, hostile in text."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from lamas_local.trace import (
    Failure,
    LayerSpan,
    OperatorSpan,
    RequestSpan,
    RolloutTrace,
    Span,
    Step,
    ToolSpan,
    to_json,
)
from serving.types import RequestTiming

HOSTILE = "<script>alert('x')</script> {braces} %s &amp; \"quotes\" \u202e\x00\x1b ]]> </svg></pre>"
OPERATORS = ("Generate", "GenerateCoT", "MultiGenerateCoT", "ScEnsemble", "SelfRefine", "Programmer")
NUM_SAMPLES = {"MultiGenerateCoT": 3}
NUM_TOKENS = {"Generate": 9, "GenerateCoT": 70, "MultiGenerateCoT": 80, "ScEnsemble": 2, "SelfRefine": 60}


def make_request(
    started: float, num_tokens: int, rng: random.Random, load: float = 1.0, text: str = "so 4"
) -> RequestSpan:
    scheduled = started + rng.uniform(0.0, 0.25) * load
    first_token = scheduled + rng.uniform(0.15, 0.5)
    last_token = first_token + num_tokens * 0.03 * load * rng.uniform(0.9, 1.1)
    return RequestSpan(
        request_id="train/q/0",
        seed=1,
        started=started,
        ended=last_token + 0.01,
        timing=RequestTiming(started, started, scheduled, first_token, last_token, last_token + 0.005),
        num_prompt_tokens=120,
        num_cached_tokens=64,
        num_output_tokens=num_tokens,
        finish_reason="stop",
        text=text,
    )


def make_operator(name: str, started: float, rng: random.Random, load: float = 1.0, text: str = "so 4") -> OperatorSpan:
    num_tokens = NUM_TOKENS.get(name, 40)
    step: Step = tuple(
        make_request(started, max(1, int(rng.gauss(num_tokens, num_tokens / 4))), rng, load, text)
        for _ in range(NUM_SAMPLES.get(name, 1))
    )
    steps: tuple[tuple[Span, ...], ...] = (step,)
    ended = max(span.ended for span in step)
    if name == "Programmer":
        tool = ToolSpan("run", ended + 0.005, ended + 0.01, ended + 0.7, "error", "namespaces", text)
        steps, ended = (step, (tool,)), tool.ended
    return OperatorSpan(name, started, ended + 0.02, steps)


def make_trace(
    policy: str,
    names: tuple[tuple[str, ...], ...],
    rng: random.Random,
    query_id: str = "test-0",
    step: int = 0,
    rollout: int = 0,
    load: float = 1.0,
    answer: str | None = "The answer is 4.",
) -> RolloutTrace:
    """A layered rollout of the named operators; a layer of none is one that drew EarlyStop first."""
    started = now = 1000.0 + step * 60
    layers = []
    for layer in names:
        operators = tuple(make_operator(name, now, rng, load, answer or "") for name in layer)
        ended = max((operator.ended for operator in operators), default=now) + 0.005
        layers.append(LayerSpan(now, ended, operators))
        now = ended
    return RolloutTrace(
        query_id=query_id,
        rollout=rollout,
        policy=policy,
        step=step,
        mode="layered",
        architecture=tuple(layer or ("EarlyStop",) for layer in names),
        started=started,
        ended=now + 0.01,
        layers=tuple(layers),
        finaliser=LayerSpan(now, now + 0.01, ()),
        answer=answer,
        score=None if answer is None else float(rng.random() < 0.5),
        failure=Failure("RequestTimeoutError", HOSTILE) if answer is None else None,
    )


def failed_operator(started: float) -> OperatorSpan:
    failure = Failure("RequestTimeoutError", HOSTILE)
    request = RequestSpan("r", 1, started, started + 1.5, failure=failure)
    return OperatorSpan("SelfRefine", started, started + 1.5, ((request,),), failure)


def make_metrics(step: int, num_steps: int, rng: random.Random) -> dict[str, Any]:
    left = math.exp(-3 * step / num_steps)
    share = 0.9 - 0.7 * left
    rest = (1 - share) / 3
    return {
        "step": step,
        "score": 0.45 - 0.1 * left + rng.gauss(0, 0.08),
        "wall_latency_s": 3 + 9 * left + rng.gauss(0, 1),
        "proxy_latency_s": 0.8 + 2.5 * left + rng.gauss(0, 0.2),
        "cp_tokens": 40 + 125 * left + rng.gauss(0, 10),
        "output_tokens": 55 + 480 * left + rng.gauss(0, 30),
        "cost_usd": 0.0002,
        "penalty_tokens": 0.01,
        "penalty_measured": 0.02,
        "pearson": None if step == 0 else 0.8,
        "spearman": None,
        "critical_agreement": None,
        "num_operators": 1.3 + 5 * left + rng.gauss(0, 0.3),
        "num_failed": 0,
        "loss": float("nan") if step == 1 else 0.1,
        "grad_norm": 1.0,
        "entropy": 1.0,
        "scales": [1.0, 1.1, 1.0, 1.0],
        "step_s": 20.0,
        "operator_probabilities": [
            {"Generate": share, "GenerateCoT": rest, "MultiGenerateCoT": 2 * rest},
            {"Generate": rest, "ScEnsemble": rest, "SelfRefine": rest / 2, "Programmer": rest / 2, "EarlyStop": share},
            {"Generate": 0.3, "EarlyStop": 0.7} if step < num_steps - 1 else None,
            None,
        ],
    }


def make_policy(seconds: float, tokens: float, score: float) -> dict[str, Any]:
    return {
        "num_queries": 100,
        "num_failed": 0,
        "score": score,
        "score_se": 0.047,
        "cost_usd_mean": 0.0000421 * seconds,
        "cp_tokens_mean": tokens,
        "proxy_latency_s_mean": tokens / 50,
        "wall_latency_s_mean": seconds,
        "wall_latency_s_se": seconds / 20,
        "wall_latency_s_p50": seconds * 0.9,
        "wall_latency_s_p95": seconds * 2.1,
        "num_operators_mean": seconds,
    }


SUMMARY: dict[str, Any] = {
    "policies": {
        "trained": make_policy(1.21, 38.5, 0.43),
        "initial": make_policy(5.41, 161.2, 0.37),
        "initial-sequential": make_policy(9.83, 402, 0.37),
        "fixed:MultiGenerateCoT+ScEnsemble": make_policy(3.9, 88, 0.51),
    },
    "comparison": {
        "pearson": 0.912,
        "spearman": 0.874,
        "critical_agreement": 0.83,
        "proxy_mape": 0.62,
        "calibrated_mape": None,
    },
}
CONFIG = """run_dir: runs/arithmetic
seed: 0
task: {kind: arithmetic, levels: [1]}
engine: {kind: vllm, model: smollm2-135m-instruct}
latency: {signal: measured, tokens_per_second: 50.0}
objective: {credit: critical_path, latency_weight: 0.05}
trainer: {num_steps: 80, queries_per_step: 4, rollouts_per_query: 4}
evaluation: {max_queries_in_flight: 1}
# <script>alert(1)</script>
"""
ENVIRONMENT = {
    "commit": "3f2a91c",
    "cpu": "AMD EPYC 7B13 <b>2 cores</b>",
    "vllm": "0.32.0",
    "gpus": [],
    "kernel": {"name": "Linux"},
}


def make_run(run_dir: Path, num_steps: int = 80, answer: str = HOSTILE, rollouts_per_step: int = 8) -> Path:
    """A complete run folder."""
    rng = random.Random(1)
    run_dir.mkdir(parents=True, exist_ok=True)
    big = (("MultiGenerateCoT", "Programmer", "GenerateCoT"), ("ScEnsemble", "SelfRefine"), ())
    small: tuple[tuple[str, ...], ...] = (("Generate",), ())
    traces = [
        make_trace("train", big if rng.random() > step / num_steps else small, rng, f"q{step}", step, r, load=2.3)
        for step in range(num_steps)
        for r in range(rollouts_per_step)
    ]
    for query in range(25):
        query_id = f"test-{query}"
        team = (("Generate", "GenerateCoT"), ()) if query % 2 else small
        traces.append(make_trace("trained", team, rng, query_id, num_steps, answer=answer))
        traces.append(make_trace("initial", big, rng, query_id, 0, answer=answer))
    traces.append(make_trace("trained", small, rng, "test-99", num_steps, answer=None))
    metrics = [json.dumps(make_metrics(step, num_steps, rng)) for step in range(num_steps)]
    (run_dir / "metrics.jsonl").write_text("\n".join(metrics) + "\n")
    (run_dir / "traces.jsonl").write_text("".join(to_json(trace) + "\n" for trace in traces))
    (run_dir / "summary.json").write_text(json.dumps(SUMMARY))
    (run_dir / "config.yaml").write_text(CONFIG)
    (run_dir / "environment.json").write_text(json.dumps(ENVIRONMENT))
    return run_dir
