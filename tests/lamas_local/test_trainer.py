"""The training loop on a fake engine: what it learns, what failures do to it, and going on after a stop."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamas_local.calibration import load_cost_model
from lamas_local.checkpoint import load_checkpoint, save_checkpoint
from lamas_local.config import Config
from lamas_local.controller import Draw
from lamas_local.cost_model import CostModel
from lamas_local.latency import cost_usd, measure
from lamas_local.sampling import entropy
from lamas_local.step_metrics import mean_probabilities, summarise_batch
from lamas_local.trace import Failure, read_traces
from lamas_local.trainer import (
    BatchFailedError,
    Trainer,
    check_failures,
    make_adam,
)
from serving.types import Completion, EngineDeadError, EngineError, GenerationRequest, RequestTiming
from tests.lamas_local.builders import (
    OneProblemTask,
    ScriptedEngine,
    layer,
    make_config,
    make_trainer,
    operator,
    operator_of,
    request,
    trace,
)


def of_rollouts(*rollouts: int) -> Any:
    """Fails every request of these rollouts."""

    def fail(request: GenerationRequest) -> EngineError | None:
        return EngineError("too long") if int(request.request_id.split("/")[2]) in rollouts else None

    return fail


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.controller.state_dict().items()}


async def test_one_step(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path))
    before = weights(trainer)
    metrics, traces = await trainer.train_step()
    assert trainer.step == 1
    assert [(trace.query_id, trace.rollout) for trace in traces] == [
        ("arithmetic-train-0", 0),
        ("arithmetic-train-0", 1),
        ("arithmetic-train-1", 0),
        ("arithmetic-train-1", 1),
    ]
    assert all((trace.policy, trace.step, trace.mode) == ("train", 1, "layered") for trace in traces)
    assert metrics["step"] == 1
    assert metrics["num_failed"] == 0
    assert math.isfinite(metrics["loss"])
    assert metrics["grad_norm"] > 0
    assert not torch.equal(weights(trainer)["log_scales"], before["log_scales"])
    json.dumps(metrics, allow_nan=False)


async def test_the_next_step_takes_the_next_queries(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path))
    await trainer.train_step()
    _, traces = await trainer.train_step()
    assert {trace.query_id for trace in traces} == {"arithmetic-train-2", "arithmetic-train-3"}


async def test_a_split_that_starts_over_is_drawn_and_sampled_anew(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    trainer = make_trainer(make_config(tmp_path, trainer={"queries_per_step": 3}), engine, OneProblemTask(size=2))
    plans, _ = trainer.draw_batch()
    assert [(plan.example.query.id, plan.epoch) for plan in plans[::2]] == [
        ("train-0", 0),
        ("train-1", 0),
        ("train-0", 1),
    ]
    for _ in range(3):
        await trainer.train_step()
    assert len({request.request_id for request in engine.requests}) == len(engine.requests)
    assert len({request.seed for request in engine.requests}) == len(engine.requests)
    assert [plan.epoch for plan in trainer.draw_batch()[0][::2]] == [4, 5, 5]


@pytest.mark.parametrize(("weight", "grows"), [(0.0, False), (0.5, True)])
def test_where_all_is_equally_good_the_weight_of_entropy_decides(weight: float, grows: bool, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, trainer={"entropy_weight": weight}))
    seen = []
    for _ in range(30):
        _, draws = trainer.draw_batch()
        credited = [[[1.0] * len(layer) for layer in draw.architecture] for draw in draws]
        seen.append(trainer.update(draws, credited)["entropy"])
    assert (seen[-1] > seen[0]) == grows
    assert grows or seen[-1] == pytest.approx(seen[0])


async def probability(config: Config, engine: ScriptedEngine, task: OneProblemTask, name: str) -> tuple[float, float]:
    """Of drawing the operator first, before and after training."""
    trainer = make_trainer(config, engine, task)
    embedding = trainer.embedder.embed([task.problem])[0]

    def now() -> float:
        log_p = trainer.controller.layer_log_probabilities(0, embedding, None).detach()
        return float(log_p.exp()[trainer.controller.names.index(name)])

    before = now()
    await trainer.train(asyncio.Event())
    return before, now()


LEARNING = {
    "operators": ["Generate", "GenerateCoT"],
    "controller": {"num_layers": 1, "threshold": 0.1},
    "trainer": {
        "num_steps": 25, "queries_per_step": 2, "rollouts_per_query": 4,
        "learning_rate": 0.02, "scale_learning_rate": 0.1, "checkpoint_every": 100,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ["Generate", "GenerateCoT"])
@pytest.mark.parametrize("log_prob", ["exact", "independent"])
async def test_what_scores_is_drawn_more(tmp_path: Path, name: str, log_prob: str) -> None:
    changes = {**LEARNING, "trainer": {**LEARNING["trainer"], "log_prob": log_prob}}  # type: ignore[dict-item]
    engine = ScriptedEngine(operator_of)
    task = OneProblemTask(score=lambda solution: float(solution == name))
    before, after = await probability(make_config(tmp_path, **changes), engine, task, name)
    assert 0.3 < before < 0.7
    assert after > 0.85


async def test_what_takes_long_is_drawn_less(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda request: "word " * (400 if operator_of(request) == "GenerateCoT" else 5))
    config = make_config(tmp_path, **LEARNING, objective={"cost_weight": 0.0, "latency_weight": 0.1})
    before, after = await probability(config, engine, OneProblemTask(), "GenerateCoT")
    assert 0.3 < before < 0.7
    assert after < 0.15


async def test_without_a_penalty_latency_teaches_nothing(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda request: "word " * (400 if operator_of(request) == "GenerateCoT" else 5))
    config = make_config(tmp_path, **LEARNING, objective={"cost_weight": 0.0, "credit": "none", "latency_weight": 0.1})
    before, after = await probability(config, engine, OneProblemTask(), "GenerateCoT")
    assert after == pytest.approx(before, abs=1e-3)


# Failures


async def test_failures_up_to_half_are_counted(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path), ScriptedEngine(fail=of_rollouts(0)))
    metrics, traces = await trainer.train_step()
    assert metrics["num_failed"] == 2
    assert [trace.failure is None for trace in traces] == [False, True, False, True]
    assert trainer.step == 1


async def test_more_than_half_end_the_run_with_the_commonest_reason(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path), ScriptedEngine(fail=of_rollouts(0, 1)))
    before = weights(trainer)
    with pytest.raises(BatchFailedError, match="4 of 4 rollouts failed, 4 of them with EngineError: too long"):
        await trainer.train(asyncio.Event())
    assert trainer.step == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert len(read_traces(trainer.folder.traces)) == 4, "a failed batch can be looked into"


@pytest.mark.parametrize(("num_failed", "ends"), [(0, False), (2, False), (3, True), (4, True)])
def test_the_bound_is_more_than_half(num_failed: int, ends: bool) -> None:
    traces = [trace(failure=Failure("E", "e") if i < num_failed else None) for i in range(4)]
    if ends:
        with pytest.raises(BatchFailedError, match=f"{num_failed} of 4"):
            check_failures(traces)
    else:
        check_failures(traces)


def test_failed_rollouts_do_not_change_the_loss_of_the_others(tmp_path: Path) -> None:
    clean, with_failures = make_trainer(make_config(tmp_path)), make_trainer(make_config(tmp_path))
    losses, utilities = [], [0.9, 0.1, 0.5, 0.0]
    for trainer, failed in ((clean, ()), (with_failures, (1, 3))):
        _, draws = trainer.draw_batch()
        kept = [
            (draw, [[u] * len(drawn) for drawn in draw.architecture]) for draw, u in zip(draws, utilities, strict=True)
        ]
        if failed:
            update = trainer.update([d for d, _ in kept], [None if i in failed else c for i, (_, c) in enumerate(kept)])
        else:
            update = trainer.update([d for d, _ in kept[::2]], [c for _, c in kept[::2]])
        losses.append((update["loss"], update["grad_norm"], update["utility_mean"]))
    assert losses[0] == losses[1]
    assert all(torch.equal(value, weights(clean)[name]) for name, value in weights(with_failures).items())


async def test_a_dead_engine_ends_the_run(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path), ScriptedEngine(fail=lambda request: EngineDeadError("gone")))
    with pytest.raises(EngineDeadError):
        await trainer.train(asyncio.Event())


async def test_a_rollout_that_scores_zero_is_no_failure(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path), ScriptedEngine(), OneProblemTask(score=lambda solution: 0.0))
    metrics, traces = await trainer.train_step()
    assert (metrics["score"], metrics["num_failed"]) == (0.0, 0)
    assert all(
        credit is not None for credit in trainer.credit(traces, [measure(t, trainer.config.latency) for t in traces])
    )


# Stopping and going on


async def train(config: Config, num_steps: int, *, resume: bool = False) -> Trainer:
    trainer = make_trainer(make_config(config.run_dir, trainer={"num_steps": num_steps, "checkpoint_every": 2}))
    if resume:
        trainer.resume()
    await trainer.train(asyncio.Event())
    return trainer


async def test_going_on_is_bit_identical_to_not_having_stopped(tmp_path: Path) -> None:
    whole = await train(make_config(tmp_path / "whole"), 6)
    await train(make_config(tmp_path / "parts"), 3)
    parts = await train(make_config(tmp_path / "parts"), 6, resume=True)
    expected, got = whole.state(), parts.state()
    assert (got.step, got.ema_mean, got.ema_std) == (expected.step, expected.ema_mean, expected.ema_std)
    assert got.adam.keys() == expected.adam.keys()
    assert all(torch.equal(got.controller[name], value) for name, value in expected.controller.items())
    assert all(torch.equal(got.adam[name], value) for name, value in expected.adam.items())


CONSTRAINTS: list[dict[str, Any]] = [
    {"kind": "latency_budget", "latency_budget_s": 1.0},
    {"kind": "latency_budget", "latency_budget_s": 1.0, "latency_budget_statistic": "p95"},
    {"kind": "score_floor", "score_floor_share": 0.9, "score_floor_queries": 5},
]


async def train_constrained(run_dir: Path, num_steps: int, objective: dict[str, Any], resume: bool = False) -> Trainer:
    trainer_settings = {"num_steps": num_steps, "checkpoint_every": 2}
    task = OneProblemTask(score=lambda solution: len(solution) % 7 / 7)
    trainer = make_trainer(make_config(run_dir, objective=objective, trainer=trainer_settings), task=task)
    if resume:
        trainer.resume()
    await trainer.train(asyncio.Event())
    return trainer


@pytest.mark.parametrize("objective", CONSTRAINTS)
async def test_going_on_is_bit_identical_under_a_constraint(tmp_path: Path, objective: dict[str, Any]) -> None:
    whole = await train_constrained(tmp_path / "whole", 6, objective)
    await train_constrained(tmp_path / "parts", 3, objective)
    parts = await train_constrained(tmp_path / "parts", 6, objective, resume=True)
    expected, got = whole.state(), parts.state()
    assert got.dual == expected.dual
    assert all(torch.equal(got.controller[name], value) for name, value in expected.controller.items())
    lines = [[json.loads(line) for line in run.folder.metrics.read_text().splitlines()] for run in (whole, parts)]
    keys = ("multiplier", "constraint_value", "constraint_target", "loss")
    assert [[line[key] for key in keys] for line in lines[0]] == [[line[key] for key in keys] for line in lines[1]]
    assert len({line["multiplier"] for line in lines[0]}) == 6, "it moves at every step"


async def test_a_constraint_counts_what_ran_and_scores_what_failed_as_nothing(tmp_path: Path) -> None:
    objective = {"kind": "score_floor", "score_floor_share": 1.0, "score_floor_baseline": 0.5}
    trainer = make_trainer(
        make_config(tmp_path, objective=objective), ScriptedEngine(fail=of_rollouts(0)), OneProblemTask()
    )
    metrics, _ = await trainer.train_step()
    assert (metrics["constraint_value"], metrics["constraint_target"]) == (0.5, 0.5)
    assert metrics["penalty_tokens"] == pytest.approx(metrics["multiplier"] * metrics["proxy_latency_s"])
    budget = {"kind": "latency_budget", "latency_budget_s": 1.0}
    trainer = make_trainer(make_config(tmp_path, objective=budget), ScriptedEngine(fail=of_rollouts(0)))
    metrics, _ = await trainer.train_step()
    assert metrics["constraint_value"] == pytest.approx(metrics["proxy_latency_s"])


async def test_a_penalty_has_no_multiplier(tmp_path: Path) -> None:
    metrics, _ = await make_trainer(make_config(tmp_path)).train_step()
    assert not {"multiplier", "constraint_value", "constraint_target"} & metrics.keys()


class Clock:
    """Stands for a module's `now`: every look at it is a moment later, in every run alike."""

    def __init__(self) -> None:
        self._moments = itertools.count()

    def __call__(self) -> float:
        return next(self._moments) / 100


class StampedEngine(ScriptedEngine):
    """Stamps that depend on the request alone, so that a run can be repeated to the bit."""

    async def generate(self, request: GenerationRequest) -> Completion:
        completion = await super().generate(request)
        waited, *lengths = np.random.default_rng(request.seed).uniform(0.01, 3.0, 5)
        return replace(completion, timing=RequestTiming(0.0, waited, *(waited + np.cumsum(lengths)).tolist()))


CALIBRATED: dict[str, Any] = {
    "latency": {"signal": "calibrated"},
    "objective": {"latency_weight": 0.1},
    "trainer": {"queries_per_step": 4, "checkpoint_every": 2},
}


async def train_calibrated(run_dir: Path, num_steps: int, monkeypatch: pytest.MonkeyPatch, resume: bool) -> Trainer:
    for name in ("executor", "operator_call"):
        monkeypatch.setattr(f"lamas_local.{name}.now", Clock())
    changes = {**CALIBRATED, "trainer": {**CALIBRATED["trainer"], "num_steps": num_steps}}
    trainer = make_trainer(make_config(run_dir, **changes), StampedEngine())
    if resume:
        trainer.resume()
    await trainer.train(asyncio.Event())
    return trainer


async def test_going_on_is_bit_identical_with_a_calibrated_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await train_calibrated(tmp_path / "whole", 6, monkeypatch, resume=False)
    await train_calibrated(tmp_path / "parts", 3, monkeypatch, resume=False)
    parts = await train_calibrated(tmp_path / "parts", 6, monkeypatch, resume=True)
    assert whole.calibration.model is not None
    assert parts.calibration.model == whole.calibration.model
    assert parts.calibration.num_requests == whole.calibration.num_requests
    assert load_cost_model(parts.folder.calibration) == whole.calibration.model
    expected, got = whole.state(), parts.state()
    assert (got.step, got.ema_mean, got.ema_std) == (expected.step, expected.ema_mean, expected.ema_std)
    assert all(torch.equal(got.controller[name], value) for name, value in expected.controller.items())
    lines = [[json.loads(line) for line in run.folder.metrics.read_text().splitlines()] for run in (whole, parts)]
    keys = ("latency_signal", "penalty_calibrated", "loss")
    assert [[line[key] for key in keys] for line in lines[0]] == [[line[key] for key in keys] for line in lines[1]]
    assert lines[0][0]["latency_signal"] == "calibrated", "the first step's model is fitted to its own requests"
    assert lines[0][0]["calibrated_mape"] is None, "which says nothing of its error"
    assert lines[0][-1]["latency_signal"] == "calibrated"
    assert lines[0][-1]["calibrated_mape"] > 0


async def test_the_calibrated_signal_is_what_is_credited(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, **CALIBRATED), StampedEngine())
    rollouts = [trace(layer(operator(20, seconds=50.0)), wall_s=50.0, score=0.0)]
    model = CostModel(0.5, 0.0, 0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)
    config = trainer.config.latency
    credited = trainer.credit(rollouts, [measure(one, config, model) for one in rollouts])
    assert credited[0] is not None
    cost = cost_usd(rollouts[0], trainer.config.objective) * trainer.config.objective.cost_weight
    assert credited[0][0][0] == pytest.approx(-0.1 * 20 * 0.5 - cost)


@pytest.mark.parametrize("signal", ["tokens", "measured"])
async def test_the_cost_model_is_fitted_whatever_the_signal(tmp_path: Path, signal: str) -> None:
    changes = {**CALIBRATED, "latency": {"signal": signal}}
    trainer = make_trainer(make_config(tmp_path, **changes), StampedEngine())
    for _ in range(2):
        await trainer.train_step()
    metrics, _ = await trainer.train_step()
    assert metrics["latency_signal"] == signal
    assert min(metrics["penalty_tokens"], metrics["penalty_measured"], metrics["penalty_calibrated"]) > 0
    json.dumps(metrics, allow_nan=False)


async def test_steps_after_the_newest_checkpoint_are_made_again(tmp_path: Path) -> None:
    config = make_config(tmp_path, trainer={"num_steps": 4, "checkpoint_every": 2})
    trainer = make_trainer(config)
    for _ in range(3):
        metrics, _ = await trainer.train_step()
        trainer.folder.append_metrics(metrics)
        if trainer.step == 2:
            save_checkpoint(trainer.folder.checkpoints, trainer.state(), keep=3)
    again = make_trainer(config)
    again.resume()
    assert again.step == 2
    await again.train(asyncio.Event())
    assert [json.loads(line)["step"] for line in again.folder.metrics.read_text().splitlines()] == [1, 2, 3, 4]
    done = [(trace.step, trace.query_id, trace.rollout) for trace in read_traces(again.folder.traces)]
    assert len(done) == len(set(done)) == 16


async def test_asked_to_stop_it_finishes_the_step_and_saves(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, trainer={"num_steps": 9, "checkpoint_every": 5}))
    stop = asyncio.Event()
    await trainer.train(stop, lambda metrics: stop.set() if metrics["step"] == 2 else None)
    assert trainer.step == 2
    assert load_checkpoint(trainer.folder.checkpoints).step == 2
    assert len(trainer.folder.metrics.read_text().splitlines()) == 2


async def test_checkpoints_come_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    config = make_config(tmp_path, trainer={"num_steps": 5, "checkpoint_every": 2, "keep_checkpoints": 2})
    trainer = make_trainer(config)
    await trainer.train(asyncio.Event())
    assert sorted(path.name for path in trainer.folder.checkpoints.iterdir()) == ["step-000004", "step-000005"]


# Pure parts


def test_penalties_under_both_signals_stand_side_by_side() -> None:
    config = make_config(objective={"latency_weight": 0.1})
    short = trace(layer(operator(request(100, prompt_tokens=10), seconds=3.0)), wall_s=3.5, score=0.0)
    long = trace(layer(operator(200, seconds=5.0), operator(50, seconds=4.0)), wall_s=5.5, score=1.0)
    failed = trace(failure=Failure("E", "e"), wall_s=99.0)
    traces = [short, long, failed]
    metrics = summarise_batch(traces, [measure(one, config.latency) for one in traces], config)
    assert metrics["score"] == 0.5
    assert metrics["cp_tokens"] == 150
    assert metrics["output_tokens"] == 175
    assert metrics["proxy_latency_s"] == 3.0
    assert metrics["wall_latency_s"] == 4.5
    assert metrics["penalty_tokens"] == pytest.approx(0.1 * 3.0)
    assert metrics["penalty_measured"] == pytest.approx(0.1 * 4.0)
    assert metrics["num_operators"] == 1.5
    assert metrics["critical_agreement"] == 1.0
    assert metrics["num_failed"] == 1


def test_entropy_by_hand() -> None:
    assert entropy(torch.log(torch.tensor([0.5, 0.25, 0.25, 0.0]))) == pytest.approx(1.5 * math.log(2))
    assert entropy(torch.log(torch.tensor([0.0, 1.0]))) == 0


def test_mean_probabilities_leave_out_what_was_not_reached(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, operators=["Generate", "EarlyStop"], controller={"num_layers": 3}))
    sure, even = torch.log(torch.tensor([1.0, 0.0])), torch.log(torch.tensor([0.5, 0.5]))
    draws = [Draw((("Generate",), ("EarlyStop",)), (sure, even)), Draw((("Generate",),), (sure,))]
    assert mean_probabilities(draws, trainer.controller) == [
        {"Generate": 1.0, "EarlyStop": 0.0},
        {"Generate": 0.5, "EarlyStop": 0.5},
        None,
    ]


@pytest.mark.parametrize(("scale_rate", "expected"), [(None, 0.02), (0.3, 0.3)])
def test_the_scales_may_learn_at_a_rate_of_their_own(tmp_path: Path, scale_rate: float | None, expected: float) -> None:
    config = make_config(tmp_path, trainer={"learning_rate": 0.02, "scale_learning_rate": scale_rate})
    controller = make_trainer(config).controller
    maps, scales = make_adam(controller, config.trainer).param_groups
    assert (maps["lr"], scales["lr"]) == (0.02, expected)
    assert scales["params"] == [controller.log_scales]
    assert len(maps["params"]) == len(list(controller.parameters())) - 1
