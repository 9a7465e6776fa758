"""An architecture against scripted engines: what each operator sees, in which order, and what is stamped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from lamas_local.config import ConfigError, LatencyConfig, ObjectiveConfig
from lamas_local.critical_path import critical_path
from lamas_local.executor import Plan
from lamas_local.latency import cost_usd, measure, requests
from lamas_local.operators import OperatorCall, Update
from lamas_local.operators.generate import Generate
from lamas_local.sandbox import SandboxError, SandboxResult
from lamas_local.tasks import Example, Query
from lamas_local.trace import Architecture, ExecutionMode, Failure, RequestSpan, RolloutTrace, ToolSpan, to_json
from serving.fake_engine import FakeEngine
from serving.types import EngineDeadError, EngineError, GenerationRequest, RequestTimeoutError
from tests.lamas_local.builders import (
    FakeSandbox,
    OneProblemTask,
    ScriptedEngine,
    executor,
    operator_of,
    result,
    run,
    user_text,
)

MODES: tuple[ExecutionMode, ...] = ("layered", "sequential")
WIDE: Architecture = (("Generate", "MultiGenerateCoT", "GenerateCoT"), ("SelfRefine", "ScEnsemble"), ("EarlyStop",))


def shuffled(seed: int) -> Callable[[GenerationRequest], float]:
    """Answers arrive in another order for every seed."""
    rng = random.Random(seed)
    return lambda request: rng.uniform(0.0, 0.02)


def failing(*names: str, error: type[EngineError] = EngineError) -> Callable[[GenerationRequest], EngineError | None]:
    return lambda request: error(f"{operator_of(request)} lost") if operator_of(request) in names else None


def echo(request: GenerationRequest) -> str:
    """The operator's name, so that a solution tells where it came from."""
    return request.choices[0] if request.choices else f"by {operator_of(request)}"


# Order of arrival


@pytest.mark.parametrize("mode", MODES)
async def test_seeds_texts_and_answer_do_not_depend_on_the_order_of_arrival(mode: ExecutionMode) -> None:
    def essence(trace: RolloutTrace) -> list[object]:
        return [trace.answer, *((span.request_id, span.seed, span.text) for span in requests(trace))]

    traces = [await run(ScriptedEngine(delay_s=shuffled(seed)), WIDE, mode) for seed in range(4)]
    assert len(requests(traces[0])) == 7
    assert all(essence(trace) == essence(traces[0]) for trace in traces)


async def test_rollouts_side_by_side_are_as_if_alone() -> None:
    task = OneProblemTask()
    runner = executor(ScriptedEngine(delay_s=shuffled(0)), task)
    plans = [Plan(task.example("test", 0), WIDE, "layered", rollout=i) for i in range(4)]
    together = await asyncio.gather(*(runner.run(plan) for plan in plans))
    for rollout, trace in enumerate(together):
        alone = await run(FakeEngine(), WIDE, rollout=rollout)
        assert [span.text for span in requests(trace)] == [span.text for span in requests(alone)]
        assert trace.answer == alone.answer
    assert len({span.seed for trace in together for span in requests(trace)}) == 4 * 7


async def test_the_policy_is_no_part_of_a_seed_but_of_the_request_id() -> None:
    task, engine = OneProblemTask(), ScriptedEngine()
    for policy in ("trained", "initial"):
        await executor(engine, task).run(Plan(task.example("test", 0), (("Generate",),), "layered", policy))
    assert engine.requests[0].seed == engine.requests[1].seed
    assert engine.requests[0].request_id != engine.requests[1].request_id


async def test_another_run_seed_gives_other_request_seeds() -> None:
    first, second = ScriptedEngine(), ScriptedEngine()
    await run(first, WIDE, seed=1)
    await run(second, WIDE, seed=2)
    assert not {request.seed for request in first.requests} & {request.seed for request in second.requests}


# State


async def test_in_a_layer_all_see_the_state_at_its_start() -> None:
    engine = ScriptedEngine(echo)
    await run(engine, (("Generate",), ("GenerateCoT", "SelfRefine")), "layered")
    assert "by Generate\n" not in user_text(engine.requests[1])
    assert user_text(engine.requests[2]).endswith("Solution: by Generate")


async def test_one_after_another_each_sees_the_one_before() -> None:
    engine = ScriptedEngine(echo)
    await run(engine, (("Generate", "GenerateCoT"), ("SelfRefine", "ScEnsemble")), "sequential")
    assert [operator_of(request) for request in engine.requests] == [
        "Generate",
        "GenerateCoT",
        "SelfRefine",
        "ScEnsemble",
    ]
    assert user_text(engine.requests[2]).endswith("Solution: by GenerateCoT")
    assert "A: by Generate\n\nB: by GenerateCoT\n\nC: by SelfRefine" in user_text(engine.requests[3])
    assert engine.max_in_flight == 1


async def test_a_layers_operators_run_at_the_same_time() -> None:
    engine = ScriptedEngine(delay_s=lambda request: 0.02)
    await run(engine, (("Generate", "GenerateCoT", "MultiGenerateCoT"),), "layered")
    assert engine.max_in_flight == 5


async def test_solutions_are_merged_in_drawn_order_whoever_is_first() -> None:
    delays = {"Generate": 0.03, "GenerateCoT": 0.015, "MultiGenerateCoT": 0.0, "ScEnsemble": 0.0}
    engine = ScriptedEngine(echo, delay_s=lambda request: delays[operator_of(request)])
    await run(engine, (("Generate", "GenerateCoT", "MultiGenerateCoT"), ("ScEnsemble",)), "layered")
    assert "A: by Generate\n\nB: by GenerateCoT\n\nC: by MultiGenerateCoT" in user_text(engine.requests[-1])


async def test_a_vote_keeps_what_a_sibling_adds_in_the_same_layer() -> None:
    engine = ScriptedEngine(echo)
    await run(engine, (("Generate", "GenerateCoT"), ("SelfRefine", "ScEnsemble"), ("ScEnsemble",)), "layered")
    assert "A: by SelfRefine\n\nB: by Generate\n" in user_text(engine.requests[-1])


@pytest.mark.parametrize("mode", MODES)
async def test_parallel_samples_are_really_concurrent_and_have_seeds_of_their_own(mode: ExecutionMode) -> None:
    engine = ScriptedEngine(delay_s=lambda request: 0.05)
    trace = await run(engine, (("MultiGenerateCoT",),), mode)
    assert engine.max_in_flight == 3
    assert len({request.seed for request in engine.requests}) == 3
    assert len({span.text for span in requests(trace)}) == 3
    assert trace.ended - trace.started < 2 * 0.05
    [step] = trace.layers[0].operators[0].steps
    assert critical_path(trace, "tokens").length == max(span.num_output_tokens for span in step)  # type: ignore[union-attr]


# Text is data


@pytest.mark.parametrize("text", [r"\boxed{-2}", "{0}", "{name}", "{", "%s %(x)d", "${x}", "{{}}"])
async def test_braces_in_problems_answers_and_candidates_are_data(text: str) -> None:
    engine = ScriptedEngine(lambda request: request.choices[0] if request.choices else text)
    trace = await run(
        engine,
        (("Generate", "GenerateCoT", "MultiGenerateCoT"), ("SelfRefine", "ScEnsemble")),
        task=OneProblemTask(problem=text),
    )
    assert trace.answer == text
    assert trace.score == 1.0
    assert all(text in user_text(request) for request in engine.requests)
    assert not any(operator.failure for layer in trace.layers for operator in layer.operators)


async def test_the_votes_letter_is_always_among_the_candidates() -> None:
    for rollout in range(20):
        engine = ScriptedEngine()
        architecture: Architecture = (("MultiGenerateCoT", "Generate"), ("ScEnsemble",))
        trace = await run(engine, architecture, rollout=rollout)
        vote = requests(trace)[-1]
        assert engine.requests[-1].choices == ("A", "B", "C", "D")
        assert vote.text in ("A", "B", "C", "D")
        candidates = [span.text for span in requests(trace)[:-1]]
        assert trace.answer == candidates["ABCD".index(vote.text or "")]


async def test_one_candidate_makes_no_request() -> None:
    engine = ScriptedEngine(echo)
    trace = await run(engine, (("Generate",), ("ScEnsemble",)))
    assert len(engine.requests) == 1
    assert trace.answer == "by Generate"
    assert trace.layers[1].operators[0].failure is None


async def test_prompts_too_long_are_cut_and_the_cut_is_counted() -> None:
    task = OneProblemTask(problem=" ".join(f"w{i}" for i in range(300)))
    engine = ScriptedEngine(max_model_len=128)
    trace = await run(engine, (("Generate", "GenerateCoT"), ("SelfRefine",)), task=task, max_tokens=32)
    assert trace.failure is None
    for request, span in zip(engine.requests, requests(trace), strict=True):
        assert span.num_prompt_tokens + 32 <= 128
        assert span.num_cut_tokens > 0
        assert user_text(request).startswith("w0 w1 ")
    short = await run(ScriptedEngine(), (("Generate",),))
    assert requests(short)[0].num_cut_tokens == 0


async def test_what_an_operator_asks_for_reaches_the_engine() -> None:
    engine = ScriptedEngine()
    await run(engine, (("Generate", "GenerateCoT"), ("ScEnsemble",)), max_tokens=33)
    asked = {operator_of(request): request for request in engine.requests}
    assert asked["Generate"].stop == ("\n",)
    assert asked["GenerateCoT"].stop == ()
    assert asked["GenerateCoT"].choices is None
    assert asked["ScEnsemble"].choices == ("A", "B")
    assert {request.max_tokens for request in engine.requests} == {33}


# Failures


async def test_a_failed_operator_is_on_the_trace_and_its_siblings_are_used() -> None:
    engine = ScriptedEngine(echo, fail=failing("GenerateCoT"))
    trace = await run(engine, (("Generate", "GenerateCoT"), ("SelfRefine",)))
    good, bad = trace.layers[0].operators
    assert good.failure is None
    assert bad.failure == Failure("EngineError", "GenerateCoT lost")
    [[span]] = bad.steps
    assert isinstance(span, RequestSpan)
    assert span.failure == bad.failure
    assert (trace.answer, trace.failure) == ("by SelfRefine", None)
    assert len(engine.requests) == 3  # nothing was tried again


async def test_samples_that_fail_are_left_out_of_the_operator() -> None:
    def fail(request: GenerationRequest) -> EngineError | None:
        return RequestTimeoutError("late") if request.request_id.endswith("/1") else None

    trace = await run(ScriptedEngine(echo, fail=fail), (("MultiGenerateCoT",), ("ScEnsemble",)))
    [step] = trace.layers[0].operators[0].steps
    assert len(step) == 3
    kinds = [span.failure.kind if span.failure else None for span in requests(trace)]
    assert kinds == [None, "RequestTimeoutError", None, None]
    assert trace.layers[0].operators[0].failure is None
    assert trace.failure is None


@pytest.mark.parametrize("mode", MODES)
async def test_when_all_fail_the_rollout_failed_with_the_reason_and_has_no_answer(mode: ExecutionMode) -> None:
    engine = ScriptedEngine(fail=failing("Generate", "GenerateCoT", error=RequestTimeoutError))
    trace = await run(engine, (("Generate", "GenerateCoT"), ("SelfRefine", "ScEnsemble")), mode)
    assert trace.failure is not None
    assert trace.failure.kind in ("RequestTimeoutError", "NothingToRead")
    assert (trace.answer, trace.score) == (None, None)
    for operator in trace.layers[1].operators:
        assert operator.failure == Failure("NothingToRead", "every operator before it failed")
    assert len(engine.requests) == 2
    assert "Traceback" not in to_json(trace)


async def test_a_rollout_can_recover_in_a_later_layer() -> None:
    engine = ScriptedEngine(echo, fail=failing("Generate"))
    trace = await run(engine, (("Generate",), ("GenerateCoT",)))
    assert trace.answer == "by GenerateCoT"


async def test_a_bug_in_an_operator_is_no_answer_and_no_failure_of_a_rollout() -> None:
    task = OneProblemTask()
    runner = executor(ScriptedEngine(), task)
    runner.operators["Generate"] = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        await runner.run(Plan(task.example("test", 0), (("Generate",),), "layered"))


@pytest.mark.parametrize("mode", MODES)
async def test_a_dead_engine_ends_the_rollout(mode: ExecutionMode) -> None:
    engine = ScriptedEngine(fail=lambda request: EngineDeadError("the core process died"))
    with pytest.raises(EngineDeadError, match="core process"):
        await run(engine, (("Generate", "GenerateCoT"),), mode)


# Cost and time


async def test_cost_is_each_rollouts_own_under_concurrency() -> None:
    task, engine = OneProblemTask(), ScriptedEngine(delay_s=shuffled(3))
    runner = executor(engine, task)
    plans = [Plan(task.example("test", i), WIDE[: 1 + i % 2], "layered") for i in range(6)]
    together = await asyncio.gather(*(runner.run(plan) for plan in plans))
    alone = [await executor(ScriptedEngine(), task).run(plan) for plan in plans]
    prices = ObjectiveConfig()
    assert [cost_usd(t, prices) for t in together] == pytest.approx([cost_usd(t, prices) for t in alone])
    assert min(cost_usd(t, prices) for t in together) > 0


async def test_an_early_stop_leaves_an_empty_layer_that_costs_nothing() -> None:
    trace = await run(ScriptedEngine(), (("Generate",), ("EarlyStop",)), "sequential")
    assert trace.layers[1].operators == ()
    path = critical_path(trace, "tokens")
    assert path.length == requests(trace)[0].num_output_tokens
    assert path.stages[1] == 0


@pytest.mark.parametrize("mode", MODES)
async def test_stages_fill_the_rollouts_wall_clock(mode: ExecutionMode) -> None:
    engine = ScriptedEngine(delay_s=lambda request: 0.04)
    trace = await run(engine, WIDE, mode)
    latency = measure(trace, LatencyConfig(signal="measured"))
    assert latency.wall_s >= (0.08 if mode == "layered" else 0.2)
    assert latency.seconds.length == pytest.approx(latency.wall_s, rel=0.02)


async def test_every_stamp_lies_within_the_one_around_it() -> None:
    trace = await run(ScriptedEngine(delay_s=shuffled(1)), WIDE)
    for layer in trace.layers:
        assert trace.started <= layer.started <= layer.ended <= trace.finaliser.started
        for operator in layer.operators:
            assert layer.started <= operator.started <= operator.ended <= layer.ended
            for span in (span for step in operator.steps for span in step):
                assert operator.started <= span.started <= span.ended <= operator.ended
    assert trace.finaliser.started <= trace.finaliser.ended <= trace.ended


async def test_scoring_is_no_part_of_the_rollout() -> None:
    started = time.monotonic()
    trace = await run(ScriptedEngine(), (("Generate",),), task=OneProblemTask(score_s=0.1))
    assert time.monotonic() - started >= 0.1
    assert trace.ended - trace.started < 0.1
    assert trace.score == 1.0


# Copies


async def test_copies_of_an_operator_in_a_layer_sample_apart_and_the_first_as_if_alone() -> None:
    alone, copied = ScriptedEngine(), ScriptedEngine(delay_s=lambda request: 0.02)
    await run(alone, (("GenerateCoT",),))
    trace = await run(copied, (("GenerateCoT", "Generate", "GenerateCoT", "GenerateCoT"), ("ScEnsemble",)))
    chains = [request for request in copied.requests if operator_of(request).startswith("GenerateCoT")]
    assert (chains[0].seed, chains[0].request_id) == (alone.requests[0].seed, alone.requests[0].request_id)
    assert len({request.seed for request in chains}) == len({request.request_id for request in chains}) == 3
    assert copied.max_in_flight == 4
    assert copied.requests[-1].choices == ("A", "B", "C", "D")
    assert [span.name for span in trace.layers[0].operators].count("GenerateCoT") == 3


async def test_copies_one_after_another_sample_as_together() -> None:
    architecture: Architecture = (("GenerateCoT",) * 3,)
    seeds = [[span.seed for span in requests(await run(ScriptedEngine(), architecture, mode))] for mode in MODES]
    assert seeds[0] == seeds[1]


async def test_a_later_pass_over_a_split_samples_anew_and_has_ids_of_its_own() -> None:
    task, engine = OneProblemTask(size=1), ScriptedEngine()
    runner = executor(engine, task)
    for epoch in (0, 1, 2):
        await runner.run(Plan(task.example("train", epoch), (("Generate",),), "layered", epoch=epoch))
    await runner.run(Plan(task.example("train", 0), (("Generate",),), "layered"))
    assert len({request.seed for request in engine.requests[:3]}) == 3
    assert len({request.request_id for request in engine.requests[:3]}) == 3
    assert engine.requests[3] == engine.requests[0]


# Tools


def tools(trace: RolloutTrace) -> list[ToolSpan]:
    return [
        span
        for layer in (*trace.layers, trace.finaliser)
        for operator in layer.operators
        for step in operator.steps
        for span in step
        if isinstance(span, ToolSpan)
    ]


async def test_every_tool_run_is_a_span_between_the_requests_around_it() -> None:
    sandbox = FakeSandbox(result(status="error", traceback="line\n" * 50 + "NameError: {x}"), result("4"), seconds=0.02)
    trace = await run(ScriptedEngine(lambda request: "def solve(): ..."), (("Programmer",),), sandbox=sandbox)
    [programmer] = trace.layers[0].operators
    assert [step[0].kind for step in programmer.steps] == ["request", "tool", "request", "tool"]
    first, second = tools(trace)
    assert (first.name, first.status, first.isolation) == ("run", "error", "fake")
    assert first.output.endswith("NameError: {x}")
    assert len(first.output.splitlines()) <= 10
    assert (second.status, second.output) == ("ok", "")
    assert (trace.answer, trace.failure) == ("Answer: 4", None)
    for span in tools(trace):
        assert programmer.started <= span.asked <= span.started < span.ended <= programmer.ended
    tokens = sum(span.num_output_tokens for span in requests(trace))
    seconds = sum(span.ended - span.started for span in tools(trace))
    assert critical_path(trace, "tokens", 50.0).length == pytest.approx(tokens + 50.0 * seconds)
    [line] = to_json(trace).splitlines()
    assert TypeAdapter(RolloutTrace).validate_json(line) == trace


async def test_a_timeout_counts_with_its_full_time() -> None:
    sandbox = FakeSandbox(result(status="timeout"), seconds=0.05)
    trace = await run(ScriptedEngine(), (("Programmer", "Generate"),), sandbox=sandbox)
    path = critical_path(trace, "tokens", 1000.0)
    assert path.critical == (frozenset({0}),)
    assert path.length >= 3 * 0.05 * 1000.0
    assert trace.layers[0].operators[0].failure == Failure(
        "NoProgram", "no program of 3 returned an answer: the run ended with: timeout"
    )
    assert trace.failure is None


async def test_a_program_in_layer_1_reads_the_problem_alone_and_later_the_solution_too() -> None:
    engine = ScriptedEngine(lambda request: f"by {operator_of(request)}")
    architecture: Architecture = (("Programmer", "Generate"), ("Programmer",))
    await run(engine, architecture, sandbox=FakeSandbox(result("4")))
    first, _, second = engine.requests
    assert user_text(first) == "2 + 2?"
    assert "by Generate" in user_text(second)


async def test_an_operator_that_runs_code_without_saying_so_is_told() -> None:
    with pytest.raises(ConfigError, match="Programmer runs Python, so its class must have `needs_sandbox = True`"):
        await run(ScriptedEngine(), (("Programmer",),))


async def test_the_test_operator_sees_neither_gold_nor_more_than_the_query() -> None:
    problem = "def f(x):\n    '''Twice x.\n    >>> f(2)\n    4\n    '''"
    engine, sandbox = (
        ScriptedEngine(lambda request: "def f(x): return x"),
        FakeSandbox(result(status="error"), result()),
    )
    task = OneProblemTask(problem, entry_point="f")
    example = Example(Query("q", problem, "f"), gold="assert f(7) == SECRET")
    plan = Plan(example, (("Generate",), ("Test",)), "layered")
    trace = await executor(engine, task, finaliser=["Test"], sandbox=sandbox).run(plan)
    assert trace.answer == "def f(x): return x"
    assert [run[1] for run in sandbox.runs] == ["f"] * 3
    seen = repr([request.messages for request in engine.requests]) + repr(sandbox.runs)
    assert "f(2)" in seen
    assert "SECRET" not in seen


async def test_nothing_an_operator_can_reach_holds_the_gold_answer() -> None:
    seen: list[str] = []

    class Spy(Generate):
        name = "Spy"

        async def run(self, call: OperatorCall) -> Update:
            values = [getattr(call, name) for name in dir(call) if name not in ("executor", "_sandbox")]
            seen.append(repr(values))
            return await super().run(call)

    runner = executor(ScriptedEngine(), OneProblemTask())
    runner.operators["Spy"] = Spy()
    await runner.run(Plan(Example(Query("q", "2 + 2?"), gold="SECRET"), (("Spy",),), "layered"))
    assert "2 + 2?" in seen[0]
    assert "SECRET" not in seen[0]


class BrokenSandbox(FakeSandbox):
    async def run(self, code: str, function: str | None = None) -> SandboxResult:
        raise SandboxError("no place for a folder")


async def test_a_sandbox_that_fails_is_the_operators_failure() -> None:
    trace = await run(ScriptedEngine(), (("Generate", "Programmer"),), sandbox=BrokenSandbox())
    good, bad = trace.layers[0].operators
    assert (good.failure, bad.failure) == (None, Failure("SandboxError", "no place for a folder"))
    assert trace.score == 1.0


async def test_a_scorer_that_cannot_tell_fails_the_rollout() -> None:
    def score(solution: str) -> float:
        raise SandboxError("no place for a folder")

    trace = await run(ScriptedEngine(), (("Generate",),), task=OneProblemTask(score=score))
    assert trace.failure == Failure("SandboxError", "no place for a folder")
    assert (trace.answer, trace.score) == (None, None)


# The finaliser


async def test_the_finaliser_works_on_the_voted_answer_as_a_stage_of_its_own() -> None:
    sandbox = FakeSandbox(result("4"), seconds=0.02)
    engine = ScriptedEngine(echo, delay_s=lambda request: 0.02)
    trace = await run(engine, (("Generate", "GenerateCoT", "GenerateCoT"),), finaliser=["Programmer"], sandbox=sandbox)
    assert "by GenerateCoT" in user_text(engine.requests[-1])
    assert trace.answer == "Answer: 4"
    [span] = trace.finaliser.operators
    assert trace.layers[-1].ended <= trace.finaliser.started <= span.started <= span.ended <= trace.finaliser.ended
    path = critical_path(trace, "seconds")
    assert path.stages[-1] >= 0.04
    assert len(path.critical) == 1
    assert sum(path.stages) == pytest.approx(trace.ended - trace.started, rel=0.05)
    assert critical_path(trace, "tokens", 50.0).stages[-1] > 2 + 50 * 0.02


async def test_finalisers_follow_one_another_and_have_requests_of_their_own() -> None:
    engine = ScriptedEngine(echo)
    trace = await run(
        engine,
        (("Programmer",), ("Programmer",)),
        finaliser=["Programmer", "SelfRefine"],
        sandbox=FakeSandbox(result("4")),
    )
    assert trace.answer == "by SelfRefine"
    assert user_text(engine.requests[-1]).endswith("Solution: Answer: 4")
    assert len({request.request_id for request in engine.requests}) == len(engine.requests) == 4
    assert len({request.seed for request in engine.requests}) == 4


async def test_where_a_finaliser_fails_the_answer_before_it_stays() -> None:
    engine = ScriptedEngine(echo, fail=failing("SelfRefine"))
    sandbox = FakeSandbox(result(status="memory"))
    trace = await run(engine, (("Generate",),), finaliser=["SelfRefine", "Programmer"], sandbox=sandbox)
    assert trace.answer == "by Generate"
    assert [span.failure.kind for span in trace.finaliser.operators if span.failure] == ["EngineError", "NoProgram"]
    assert (trace.failure, trace.score) == (None, 1.0)


async def test_a_plan_may_do_without_the_finaliser() -> None:
    task, engine = OneProblemTask(), ScriptedEngine(echo)
    plan = Plan(task.example("test", 0), (("Generate",),), "layered", is_finalised=False)
    trace = await executor(engine, task, finaliser=["SelfRefine"]).run(plan)
    assert (trace.answer, trace.finaliser.operators) == ("by Generate", ())


async def test_without_a_solution_there_is_nothing_to_finalise() -> None:
    engine = ScriptedEngine(fail=failing("Generate"))
    trace = await run(engine, (("Generate",),), finaliser=["SelfRefine"])
    assert (trace.answer, trace.finaliser.operators) == (None, ())
    assert len(engine.requests) == 1
