"""Training with operator runs used again: what it asks of the engine, what it credits, what it knows after a stop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamas_local.latency import measure
from lamas_local.trace import RolloutTrace, read_traces, to_json
from lamas_local.trainer import Trainer, num_training_queries
from serving.types import Completion, GenerationRequest, RequestTiming
from tests.lamas_local.builders import OneProblemTask, ScriptedEngine, make_config, make_trainer

REUSE: dict[str, Any] = {"num_queries": 3, "runs_per_input": 2, "refresh": 0.25}
TRAINER: dict[str, Any] = {"queries_per_step": 2, "rollouts_per_query": 4, "num_steps": 6, "checkpoint_every": 2}
REUSED: dict[str, Any] = {
    "latency": {"signal": "calibrated"},
    "objective": {"latency_weight": 0.1},
    "trainer": {**TRAINER, "reuse": REUSE},
}


class StampedEngine(ScriptedEngine):
    """Stamps that depend on the request alone, so that a run can be repeated to the bit."""

    async def generate(self, request: GenerationRequest) -> Completion:
        completion = await super().generate(request)
        waited, *lengths = np.random.default_rng(request.seed).uniform(0.01, 3.0, 5)
        return replace(completion, timing=RequestTiming(0.0, waited, *(waited + np.cumsum(lengths)).tolist()))


async def train(run_dir: Path, num_steps: int = 6, *, resume: bool = False, **changes: Any) -> tuple[Trainer, int]:
    """A trainer at the end of a run, and the number of requests it sent."""
    settings = {**REUSED, **changes}
    engine = StampedEngine()
    settings["trainer"] = {**settings["trainer"], "num_steps": num_steps}
    trainer = make_trainer(make_config(run_dir, **settings), engine)
    if resume:
        trainer.resume()
    await trainer.train(asyncio.Event())
    return trainer, len(engine.requests)


def as_live(trace: RolloutTrace) -> RolloutTrace:
    """The same rollout, had all of it run."""
    layers = tuple(
        replace(layer, operators=tuple(replace(one, is_reused=False) for one in layer.operators))
        for layer in trace.layers
    )
    return replace(trace, layers=layers)


def metrics_of(trainer: Trainer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trainer.folder.metrics.read_text().splitlines()]


async def test_it_goes_over_its_queries_again_and_again(tmp_path: Path) -> None:
    trainer, _ = await train(tmp_path)
    queries = [f"arithmetic-train-{i % 3}" for i in range(12) for _ in range(4)]
    assert [trace.query_id for trace in read_traces(trainer.folder.traces)] == queries


@pytest.mark.parametrize(("size", "expected"), [(None, 3), (2, 2), (9, 3)])
def test_a_split_that_is_smaller_is_gone_over_whole(size: int | None, expected: int) -> None:
    task = OneProblemTask(size=size)
    assert num_training_queries(make_config(trainer={"reuse": REUSE}).trainer, task) == expected
    assert num_training_queries(make_config().trainer, task) == size


async def test_the_engine_works_for_live_runs_only(tmp_path: Path) -> None:
    trainer, num_requests = await train(tmp_path)
    traces, metrics = read_traces(trainer.folder.traces), metrics_of(trainer)
    operators = [span for trace in traces for layer in trace.layers for span in layer.operators]
    live = [one for span in operators if not span.is_reused for step in span.steps for one in step]
    assert len(live) == num_requests < sum(len(step) for span in operators for step in span.steps) / 2
    assert len({one.request_id for one in live if one.kind == "request"}) == num_requests
    for name, number in (("prompt", "num_prompt_tokens"), ("output", "num_output_tokens")):
        assert sum(line[f"engine_{name}_tokens"] for line in metrics) == sum(getattr(one, number) for one in live)
    assert sum(line["num_runs"] for line in metrics) == sum(not span.is_reused for span in operators)
    assert sum(line["num_reused_runs"] for line in metrics) == sum(span.is_reused for span in operators)
    assert metrics[-1]["engine_output_tokens"] < metrics[-1]["output_tokens"] * 8
    assert metrics[0]["latency_signal"] == "calibrated", "what the clock says of reused runs is no latency"
    json.dumps(metrics, allow_nan=False)


async def test_the_cost_model_sees_live_requests_only(tmp_path: Path) -> None:
    trainer, num_requests = await train(tmp_path)
    assert trainer.calibration.num_requests == num_requests


async def test_a_rollout_of_reused_runs_is_credited_as_if_it_had_run(tmp_path: Path) -> None:
    trainer, _ = await train(tmp_path)
    model, config = trainer.calibration.model, trainer.config.latency
    reused = [trace for trace in read_traces(trainer.folder.traces) if not trace.is_live]
    latencies = [measure(trace, config, model) for trace in reused]
    as_if_live = [measure(as_live(trace), config, model) for trace in reused]
    assert [one.calibrated for one in latencies] == [one.calibrated for one in as_if_live]
    assert trainer.credit(reused, latencies) == trainer.credit(reused, as_if_live)
    assert min(one.calibrated.length for one in latencies if one.calibrated is not None) > 0


async def test_the_clock_is_reported_of_live_rollouts_only(tmp_path: Path) -> None:
    trainer, _ = await train(tmp_path)
    traces, metrics = read_traces(trainer.folder.traces), metrics_of(trainer)
    for line in metrics:
        live = [trace.ended - trace.started for trace in traces if trace.step == line["step"] and trace.is_live]
        expected = pytest.approx(sum(live) / len(live)) if live else None
        assert line["wall_latency_s"] == expected
        assert (line["penalty_measured"] is None) == (not live)
    assert None in [line["wall_latency_s"] for line in metrics]


async def test_going_on_is_bit_identical_to_not_having_stopped(tmp_path: Path) -> None:
    whole, num_requests = await train(tmp_path / "whole")
    _, num_before = await train(tmp_path / "parts", 3)
    parts, num_after = await train(tmp_path / "parts", resume=True)
    expected, got = whole.state(), parts.state()
    assert (got.step, got.ema_mean, got.ema_std) == (expected.step, expected.ema_mean, expected.ema_std)
    assert all(torch.equal(got.controller[name], value) for name, value in expected.controller.items())
    assert num_before + num_after == num_requests
    assert whole.pool is not None
    assert parts.pool is not None
    assert len(parts.pool) == len(whole.pool) > 0


async def test_a_pool_too_small_costs_tokens_and_changes_nothing_else(tmp_path: Path) -> None:
    whole, num_requests = await train(tmp_path / "whole", latency={"signal": "tokens"})
    reuse = {**REUSE, "max_runs": 4}
    small, num_more = await train(tmp_path / "small", latency={"signal": "tokens"}, trainer={**TRAINER, "reuse": reuse})
    assert num_more > num_requests
    assert all(torch.equal(small.state().controller[name], v) for name, v in whole.state().controller.items())


@pytest.mark.parametrize("mode", ["sequential", "layered", "dataflow"])
async def test_every_mode_reuses(tmp_path: Path, mode: str) -> None:
    trainer, _ = await train(tmp_path, execution={"mode": mode, "abort": False})
    metrics = metrics_of(trainer)
    assert sum(line["num_reused_runs"] for line in metrics) > sum(line["num_runs"] for line in metrics)


async def test_without_reuse_nothing_is_recorded(tmp_path: Path) -> None:
    trainer, num_requests = await train(tmp_path, trainer=TRAINER)
    operators = [
        span for trace in read_traces(trainer.folder.traces) for layer in trace.layers for span in layer.operators
    ]
    assert all(span.recording is None and not span.is_reused for span in operators)
    assert sum(len(step) for span in operators for step in span.steps) == num_requests
    assert {line["num_reused_runs"] for line in metrics_of(trainer)} == {0}


async def test_traces_from_before_there_was_reuse_are_read(tmp_path: Path) -> None:
    trainer, _ = await train(tmp_path, 1, trainer=TRAINER)
    now = read_traces(trainer.folder.traces)
    tree = [json.loads(to_json(trace)) for trace in now]
    for trace in tree:
        for layer in (*trace["layers"], trace["finaliser"]):
            for span in layer["operators"]:
                del span["recording"], span["is_reused"]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(trace) + "\n" for trace in tree))
    assert read_traces(tmp_path / "old.jsonl") == now
