"""Training with operator runs used again: what it asks of the engine, what it credits, what it knows after a stop."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.latency import measure
from lamas_local.trace import RolloutTrace, read_traces, to_json
from lamas_local.trainer import Trainer, training_positions
from serving.types import Completion, GenerationRequest, RequestTiming
from tests.lamas_local.builders import OneProblemTask, ScriptedEngine, make_config, make_trainer

REUSE: dict[str, Any] = {"steps_per_query": 4, "runs_per_input": 2}
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


async def test_a_query_is_trained_on_for_some_steps_in_a_row(tmp_path: Path) -> None:
    trainer, _ = await train(tmp_path)
    positions = [0, 1, 0, 1, 1, 2, 1, 2, 2, 3, 2, 3]
    queries = [f"arithmetic-train-{position}" for position in positions for _ in range(4)]
    assert [trace.query_id for trace in read_traces(trainer.folder.traces)] == queries


@given(queries=st.integers(1, 9), steps_per_query=st.integers(1, 9))
def test_every_query_takes_part_in_as_many_steps(queries: int, steps_per_query: int) -> None:
    settings = {"queries_per_step": queries, "reuse": {"steps_per_query": steps_per_query}}
    config = make_config(trainer=settings).trainer
    steps = [training_positions(config, step) for step in range(3 * steps_per_query + 3)]
    assert steps[0] == range(queries)
    assert all(
        after.start - before.start <= -(-queries // steps_per_query) for before, after in itertools.pairwise(steps)
    )
    visits = Counter(position for step in steps for position in step)
    middle = range(queries, steps[-1].start)  # neither there at the first step nor at the last one
    assert all(visits[position] == steps_per_query for position in middle) or queries % steps_per_query
    assert all(abs(visits[position] - steps_per_query) <= 1 for position in middle)


def test_without_reuse_every_step_has_new_queries() -> None:
    config = make_config(trainer={"queries_per_step": 3}).trainer
    assert [training_positions(config, step) for step in range(2)] == [range(3), range(3, 6)]


async def test_a_split_that_starts_over_samples_anew(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    settings = {**REUSED, "latency": {"signal": "tokens"}}
    trainer = make_trainer(make_config(tmp_path, **settings), engine, OneProblemTask(size=1))
    for _ in range(4):
        await trainer.train_step()  # of the only query, on the first two passes and, in the last steps, on the third
    seen = {request.request_id.split("/")[1] for request in engine.requests}
    assert seen == {"train-0", "train-0@1", "train-0@2"}


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
