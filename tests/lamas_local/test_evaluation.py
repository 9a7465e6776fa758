"""Policies side by side: the same queries and seeds, in turn, and figures by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lamas_local.cost_model import CostModel
from lamas_local.evaluation import evaluate, plan_evaluation, standard_error, summarise, summarise_policy
from lamas_local.latency import requests
from lamas_local.policy import FixedPolicy, LearnedPolicy
from lamas_local.trace import Failure, RolloutTrace
from serving.types import EngineError
from tests.lamas_local.builders import (
    OneProblemTask,
    ScriptedEngine,
    executor,
    layer,
    make_config,
    make_trainer,
    operator,
    request,
    trace,
)

POLICIES = {
    "one": FixedPolicy((("Generate",),)),
    "two": FixedPolicy((("GenerateCoT",), ("SelfRefine",))),
    "three": FixedPolicy((("Generate", "GenerateCoT"),), mode="sequential"),
}


def test_policies_take_turns_in_going_first() -> None:
    plans = plan_evaluation(POLICIES, OneProblemTask(), 4)
    assert [plan.policy for plan in plans] == [
        "one", "two", "three",
        "two", "three", "one",
        "three", "one", "two",
        "one", "two", "three",
    ]  # fmt: skip
    assert [plan.example.query.id for plan in plans] == [f"test-{i // 3}" for i in range(12)]
    assert {plan.policy: plan.mode for plan in plans} == {"one": "layered", "two": "layered", "three": "sequential"}


def test_fixed_policies_run_what_they_name_and_learned_ones_are_finalised(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path))
    learned = LearnedPolicy(trainer.controller, trainer.embedder, 0, "layered", 1)
    plans = plan_evaluation({"one": POLICIES["one"], "trained": learned}, OneProblemTask(), 1)
    assert {plan.policy: plan.is_finalised for plan in plans} == {"one": False, "trained": True}


@dataclass
class Evaluation:
    """One evaluation with its engine."""

    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    traces: list[RolloutTrace] = field(default_factory=list)

    async def run(self, num_queries: int = 3, in_flight: int = 1, stop_after: int | None = None) -> bool:
        def on_rollout(trace: RolloutTrace) -> None:
            self.traces.append(trace)
            if len(self.traces) == stop_after:
                self.stop.set()

        task = OneProblemTask()
        config = make_config(evaluation={"num_queries": num_queries, "max_queries_in_flight": in_flight})
        done = {(trace.policy, trace.query_id) for trace in self.traces}
        return await evaluate(POLICIES, task, executor(self.engine, task), config, self.stop, on_rollout, done)


async def test_all_policies_get_the_same_queries_and_seeds() -> None:
    evaluation = Evaluation()
    assert await evaluation.run()
    assert Counter(trace.policy for trace in evaluation.traces) == {"one": 3, "two": 3, "three": 3}
    seeds = {(t.policy, t.query_id): {span.seed for span in requests(t)} for t in evaluation.traces}
    for query in ("test-0", "test-1", "test-2"):
        assert seeds["one", query] < seeds["three", query]
    texts = {(t.policy, t.query_id): {span.text for span in requests(t)} for t in evaluation.traces}
    assert texts["one", "test-0"] < texts["three", "test-0"]
    ids = [span.request_id for trace in evaluation.traces for span in requests(trace)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_no_more_queries_are_in_flight_than_allowed(in_flight: int) -> None:
    evaluation = Evaluation(ScriptedEngine(delay_s=lambda request: 0.01))
    policies = {"one": POLICIES["one"], "two": POLICIES["two"]}
    task = OneProblemTask()
    config = make_config(evaluation={"num_queries": 4, "max_queries_in_flight": in_flight})
    await evaluate(
        policies,
        task,
        executor(evaluation.engine, task),
        config,
        evaluation.stop,
        evaluation.traces.append,
    )
    assert evaluation.engine.max_in_flight == in_flight
    assert len(evaluation.traces) == 8


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_a_stopped_evaluation_finishes_what_runs_and_goes_on_later(in_flight: int) -> None:
    evaluation = Evaluation(ScriptedEngine(delay_s=lambda request: 0.001))
    assert not await evaluation.run(in_flight=in_flight, stop_after=4)
    assert 4 <= len(evaluation.traces) < 4 + in_flight
    evaluation.stop = asyncio.Event()
    assert await evaluation.run(in_flight=in_flight)
    pairs = [(trace.policy, trace.query_id) for trace in evaluation.traces]
    assert len(pairs) == len(set(pairs)) == 9


async def test_an_evaluation_stopped_at_its_very_end_is_complete() -> None:
    assert await Evaluation().run(stop_after=9)


async def test_one_query_that_fails_ends_nothing() -> None:
    engine = ScriptedEngine(fail=lambda request: EngineError("lost") if "/test-1/" in request.request_id else None)
    evaluation = Evaluation(engine)
    assert await evaluation.run()
    assert [trace.query_id for trace in evaluation.traces if trace.failure] == ["test-1"] * 3


# Figures by hand: scores 1, 0, 1 and a failure, which scores 0 and has no latency.
RUN = [
    trace(layer(operator(request(100, prompt_tokens=1000))), wall_s=1.0, score=1.0, policy="p", query_id="a"),
    trace(layer(operator(200), operator(50)), wall_s=2.0, score=0.0, policy="p", query_id="b"),
    trace(layer(operator(300)), layer(), wall_s=6.0, score=1.0, policy="p", query_id="c"),
    trace(failure=Failure("EngineError", "lost"), wall_s=100.0, policy="p", query_id="d"),
]


def test_a_policys_figures() -> None:
    figures = summarise_policy(RUN, make_config())
    assert figures["num_queries"] == 4
    assert figures["num_failed"] == 1
    assert figures["score"] == 0.5
    # Deviations are all 0.5: the sample variance is 4 * 0.25 / 3, and the standard error its root over 2.
    assert figures["score_se"] == pytest.approx((1 / 3) ** 0.5 / 2)
    assert figures["wall_latency_s_mean"] == pytest.approx(3.0)
    assert figures["wall_latency_s_se"] == pytest.approx(((4 + 1 + 9) / 2 / 3) ** 0.5)
    assert figures["wall_latency_s_p50"] == 2.0
    assert figures["wall_latency_s_p95"] == pytest.approx(5.6)
    assert figures["cp_tokens_mean"] == 200
    assert figures["proxy_latency_s_mean"] == pytest.approx(4.0)
    assert figures["num_operators_mean"] == pytest.approx(4 / 3)
    assert figures["cost_usd_mean"] == pytest.approx((1000 * 0.15 + 650 * 0.60) / 1e6 / 3)


def test_aborted_requests_are_counted_and_are_no_failures() -> None:
    aborted = replace(request(0), is_aborted=True, timing=None, text=None)
    runs = [
        trace(layer(operator(100), operator((aborted, aborted), is_aborted=True)), mode="dataflow", wall_s=1.0),
        trace(layer(operator(100)), mode="dataflow", wall_s=1.0),
    ]
    figures = summarise_policy(runs, make_config())
    assert (figures["num_aborted_requests_mean"], figures["num_failed"]) == (1.0, 0)


def test_a_policy_that_always_fails_scores_zero_and_has_no_latency() -> None:
    figures = summarise_policy(RUN[3:], make_config())
    assert (figures["score"], figures["num_failed"]) == (0.0, 1)
    assert [figures[key] for key in figures if "latency" in key or "tokens" in key or "cost" in key] == [None] * 7


def test_the_summary_has_every_key_the_design_demands() -> None:
    summary = summarise([*RUN, trace(policy="train"), trace(policy="old")], ["p", "not run"], make_config())
    assert summary["policies"].keys() == {"p"}
    assert summary["policies"]["p"].keys() >= {
        "num_queries", "num_failed", "score", "cost_usd_mean", "cp_tokens_mean", "proxy_latency_s_mean",
        "wall_latency_s_mean", "wall_latency_s_p50", "wall_latency_s_p95", "num_operators_mean",
    }  # fmt: skip
    assert summary["comparison"].keys() == {
        "pearson", "spearman", "critical_agreement", "proxy_mape", "calibrated_mape",
    }  # fmt: skip
    # Proxy seconds 2, 4, 6 against 1, 2, 6.
    assert summary["comparison"]["pearson"] == pytest.approx(10 / (8 * 14) ** 0.5)
    assert summary["comparison"]["spearman"] == pytest.approx(1.0)
    assert summary["comparison"]["proxy_mape"] == pytest.approx((1 + 1 + 0) / 3)
    assert summary["policies"]["p"]["num_queries"] == 4


def test_the_cost_model_is_judged_by_the_evaluated_rollouts() -> None:
    model = CostModel(0.0, 0.0, 0.0, wait_s=2.0, wait_steps=0.0, return_s=0.0)  # any request takes 2 s
    rollouts = [
        trace(layer(operator(5, 6, seconds=3.0)), policy="p", wall_s=3.2),
        trace(layer(operator(5)), policy="p", wall_s=4.0),
        trace(layer(operator(5)), policy="p", wall_s=9.0, failure=Failure("E", "e")),
        trace(layer(operator(5)), policy="train", wall_s=99.0),
    ]
    comparison = summarise(rollouts, ["p"], make_config(), model)["comparison"]
    assert comparison["calibrated_mape"] == pytest.approx((0.8 / 3.2 + 2.0 / 4.0) / 2)
    assert summarise(rollouts, ["p"], make_config())["comparison"]["calibrated_mape"] is None


def test_standard_error_of_fewer_than_two_values_is_none() -> None:
    assert standard_error([]) is None
    assert standard_error([1.0]) is None
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)
