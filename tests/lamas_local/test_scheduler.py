"""Dataflow against layered, in virtual time: same answers, nothing later, and what no longer matters is stopped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamas_local.config import ConfigError
from lamas_local.critical_path import critical_path
from lamas_local.dataflow import nodes, waited_for
from lamas_local.executor import Executor, Plan
from lamas_local.latency import requests
from lamas_local.operators import EARLY_STOP, OPERATORS, Operator, OperatorCall, Reads, Update
from lamas_local.operators.generate import Generate
from lamas_local.prompt import Prompt
from lamas_local.trace import Architecture, ExecutionMode, OperatorSpan, RolloutTrace, ToolSpan, to_json
from serving.admission import AdmittedEngine
from serving.fake_engine import FakeEngine
from serving.types import Completion, EngineDeadError, EngineError, GenerationRequest
from tests.lamas_local.builders import (
    FakeSandbox,
    OneProblemTask,
    ScriptedEngine,
    executor,
    operator_of,
    result,
    run_to_the_end,
)

PROBLEM = "2 + 2?"


@dataclass
class FakeOperator:
    """One of the user's: asks some times in a row, then does to the solutions what the test says."""

    name: str
    reads: Reads
    num_added: int
    num_replaced: int = 0
    num_steps: int = 1
    description: str = "A fake."

    async def run(self, call: OperatorCall) -> Update:
        seen = tuple((f"{i}", text) for i, text in enumerate(call.solutions))
        texts = [await call.ask(Prompt(self.name, call.problem, seen)) for _ in range(self.num_steps)]
        return Update(added=tuple(texts[-1] * self.num_added), num_replaced=self.num_replaced)


FAKES = (
    FakeOperator("Thinker", "problem", num_added=2, num_steps=2),
    FakeOperator("Silent", "problem", num_added=0),
    FakeOperator("Rewriter", "solution", num_added=1, num_replaced=1),
    FakeOperator("Remover", "solution", num_added=0, num_replaced=1),
    FakeOperator("Curious", "solution_if_any", num_added=1, num_steps=2),
    FakeOperator("Picky", "solutions", num_added=0, num_replaced=2),
    FakeOperator("Vandal", "problem", num_added=1, num_replaced=9),  # it read none, so it replaces none
)
OURS = ("Generate", "GenerateCoT", "MultiGenerateCoT", "ScEnsemble", "SelfRefine")
ALL: dict[str, Operator] = {**{name: OPERATORS[name]() for name in OURS}, **{fake.name: fake for fake in FAKES}}
FIRST = sorted(name for name, one in ALL.items() if one.reads in ("problem", "solution_if_any"))
VOTERS = ["Generate", "GenerateCoT", "MultiGenerateCoT"]
"""They say how many solutions they add."""


@st.composite
def architectures(draw: st.DrawFn, names: list[str] | None = None) -> Architecture:
    num_layers = draw(st.integers(1, 4))
    layers = [
        tuple(draw(st.lists(st.sampled_from(names or (sorted(ALL) if layer else FIRST)), min_size=1, max_size=4)))
        for layer in range(num_layers)
    ]
    ending = draw(st.sampled_from(["none", "alone", "after others"]))
    if ending == "alone":
        layers.append((EARLY_STOP,))
    elif ending == "after others":
        layers[-1] = (*layers[-1], EARLY_STOP)
    return tuple(layers)


@dataclass
class World:
    """How long each request takes and whether it fails depend on the request alone, not on when it comes."""

    salt: int
    failing: float
    num_answers: int = 1000
    cancelled: list[str] = field(default_factory=list)

    def engine(self) -> ScriptedEngine:
        world = self

        class FakeEngineThatIsStopped(ScriptedEngine):
            async def generate(self, request: GenerationRequest) -> Completion:
                try:
                    return await super().generate(request)
                except asyncio.CancelledError:
                    world.cancelled.append(request.request_id)
                    raise

        return FakeEngineThatIsStopped(self.answer, self.delay_s, self.fail, max_model_len=10**6)

    def _rng(self, request: GenerationRequest, what: str) -> random.Random:
        return random.Random(f"{self.salt} {what} {request.request_id}")

    def delay_s(self, request: GenerationRequest) -> float:
        return float(self._rng(request, "delay").randint(0, 6))

    def fail(self, request: GenerationRequest) -> EngineError | None:
        return EngineError("lost") if self._rng(request, "fail").random() < self.failing else None

    def answer(self, request: GenerationRequest) -> str:
        rng = self._rng(request, "answer")
        if request.choices:
            return rng.choice(request.choices)
        words = rng.randint(0, 999) if self.num_answers > 1 else 0
        return f"{words} so {rng.randint(1, self.num_answers)}" if rng.random() < 0.9 else f"{words} who knows?"


class FakeTask(OneProblemTask):
    """An answer is the last word."""

    def extract_answer(self, solution: str) -> str | None:
        return None if solution.endswith("?") else solution.split()[-1]


def rollout(
    world: World, architecture: Architecture, mode: ExecutionMode, *, abort: bool = False, **settings: object
) -> tuple[RolloutTrace, ScriptedEngine]:
    engine, task = world.engine(), FakeTask(PROBLEM, score=lambda text: len(text.split()[-1]) / 4)
    runner = executor(engine, task, **settings)  # type: ignore[arg-type]
    runner.operators.update(ALL)
    runner.abort = abort
    trace = run_to_the_end(runner.run(Plan(task.example("test", 0), architecture, mode)))
    assert engine.num_in_flight == 0
    return trace, engine


def spans_of(trace: RolloutTrace) -> dict[tuple[int, int], OperatorSpan]:
    return {(i, j): span for i, layer in enumerate(trace.layers) for j, span in enumerate(layer.operators)}


def essence(span: OperatorSpan) -> tuple[object, ...]:
    """What an operator did, without when."""
    texts = [[(one.seed, one.text, one.failure) for one in step if one.kind == "request"] for step in span.steps]
    return (span.name, span.reads, span.num_added, span.num_replaced, span.failure, texts)


worlds = st.builds(World, st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5]))


@settings(max_examples=150)
@given(architectures(), worlds)
def test_the_same_as_in_layers_and_nothing_later(architecture: Architecture, world: World) -> None:
    layered, asked_in_layers = rollout(world, architecture, "layered")
    dataflow, asked = rollout(world, architecture, "dataflow")
    assert (dataflow.answer, dataflow.score, dataflow.failure) == (layered.answer, layered.score, layered.failure)
    assert {r.request_id: r for r in asked.requests} == {r.request_id: r for r in asked_in_layers.requests}
    assert len(asked.requests) == len(asked_in_layers.requests)
    before, after = spans_of(layered), spans_of(dataflow)
    assert {node: essence(span) for node, span in after.items()} == {n: essence(span) for n, span in before.items()}
    for node, span in after.items():
        assert span.started <= before[node].started
        assert span.ended <= before[node].ended
        assert not span.is_aborted
    assert dataflow.ended <= layered.ended
    assert [len(layer.operators) for layer in dataflow.layers] == [len(layer.operators) for layer in layered.layers]


@settings(max_examples=100)
@given(architectures(), worlds)
def test_each_starts_at_the_moment_when_what_it_reads_exists(architecture: Architecture, world: World) -> None:
    trace, _ = rollout(world, architecture, "dataflow")
    spans = spans_of(trace)
    for node, after in waited_for(trace).items():
        assert spans[node].started == max((spans[one].ended for one in after), default=0.0)
    assert trace.finaliser.started == max(span.ended for span in spans.values())
    for layer in trace.layers:
        assert trace.started <= layer.started <= layer.ended <= trace.finaliser.started
        assert all(layer.started <= span.started <= span.ended <= layer.ended for span in layer.operators)


@settings(max_examples=100)
@given(architectures(), worlds)
def test_the_critical_path_by_seconds_is_the_rollout(architecture: Architecture, world: World) -> None:
    trace, _ = rollout(world, architecture, "dataflow")
    path, spans = critical_path(trace, "seconds"), spans_of(trace)
    assert path.length == sum(path.stages) == trace.ended - trace.started
    moment = trace.started
    for layer, positions in enumerate(path.critical):
        for position in positions:  # one at most
            assert spans[layer, position].started == moment
            moment = spans[layer, position].ended
    assert moment == trace.finaliser.started


@settings(max_examples=150)
@given(
    st.one_of(architectures(VOTERS), architectures()),
    st.builds(World, st.integers(0, 10**6), st.sampled_from([0.0, 0.2]), st.integers(1, 3)),
)
def test_aborting_changes_no_answer(architecture: Architecture, world: World) -> None:
    whole, all_asked = rollout(world, architecture, "dataflow")
    world.cancelled.clear()
    trace, asked = rollout(world, architecture, "dataflow", abort=True)
    task = FakeTask()
    answers = [None if one.answer is None else task.extract_answer(one.answer) for one in (whole, trace)]
    assert answers[0] == answers[1]
    assert (trace.score is None) == (whole.score is None)
    assert trace.answer == whole.answer or answers[0] is not None  # in other words, never another answer
    assert trace.score == whole.score or answers[0] is None
    assert trace.failure == whole.failure
    possible = {request.request_id: request for request in all_asked.requests}
    assert all(possible[request.request_id] == request for request in asked.requests)
    before = spans_of(whole)
    for node, span in spans_of(trace).items():
        if not span.is_aborted:
            assert (essence(span), span.ended) == (essence(before[node]), before[node].ended)
        else:
            assert (span.failure, span.num_added) == (None, 0)
            assert span.started <= span.ended == trace.finaliser.started <= whole.finaliser.started
    aborted = [span for span in requests(trace) if span.is_aborted]
    assert sorted(span.request_id for span in aborted) == sorted(world.cancelled)
    assert len(requests(trace)) == len(asked.requests)
    path = critical_path(trace, "seconds")
    assert path.length == sum(path.stages) == trace.ended - trace.started
    for (layer, position), span in spans_of(trace).items():
        if span.is_aborted:
            assert position not in path.critical[layer]
            assert path.slack_of(layer, position) == 0.0


def test_aborting_happens() -> None:
    """The property above is about something."""
    num_aborted = 0
    for salt in range(20):
        world = World(salt, 0.0, 2)
        trace, _ = rollout(world, (("GenerateCoT",) * 5,), "dataflow", abort=True)
        num_aborted += sum(span.is_aborted for span in requests(trace))
    assert num_aborted >= 5


# By hand


def scripted(
    answers: dict[str, str], delays: dict[str, float], fail: Callable[[str], bool] = lambda name: False
) -> ScriptedEngine:
    """Answers and delays by operator (and copy)."""
    return ScriptedEngine(
        lambda request: request.choices[0] if request.choices else answers.get(operator_of(request), "so 1"),
        delay_s=lambda request: delays.get(operator_of(request), 1.0),
        fail=lambda request: EngineError("lost") if fail(operator_of(request)) else None,
    )


def play(
    engine: FakeEngine, architecture: Architecture, mode: ExecutionMode = "dataflow", runner: Executor | None = None
) -> RolloutTrace:
    runner = runner or executor(engine, FakeTask())
    return run_to_the_end(runner.run(Plan(FakeTask().example("test", 0), architecture, mode)))


def starts(trace: RolloutTrace) -> list[list[float]]:
    return [[span.started for span in layer.operators] for layer in trace.layers]


def no_abort(engine: FakeEngine) -> Executor:
    runner = executor(engine, FakeTask())
    runner.abort = False
    return runner


def test_a_generator_starts_at_once_a_refiner_after_the_current_solution_a_vote_after_all() -> None:
    engine = scripted({}, {"Generate": 5.0, "GenerateCoT": 2.0, "SelfRefine": 4.0, "MultiGenerateCoT": 3.0})
    architecture = (("Generate", "GenerateCoT"), ("SelfRefine", "MultiGenerateCoT"), ("ScEnsemble",))
    trace = play(engine, architecture, runner=no_abort(engine))
    # SelfRefine reads GenerateCoT's solution, drawn last; the vote waits for SelfRefine, 2 + 4 s.
    assert starts(trace) == [[0.0, 0.0], [2.0, 0.0], [6.0]]
    assert trace.ended == 7.0
    path = critical_path(trace, "seconds")
    assert path.critical == (frozenset({1}), frozenset({0}), frozenset({0}))
    assert path.stages == (2.0, 4.0, 1.0, 0.0)
    assert play(engine, architecture, "layered", no_abort(engine)).ended == 5.0 + 4.0 + 1.0


def test_where_the_last_drawn_fails_the_one_before_decides() -> None:
    delays = {"Generate": 5.0, "GenerateCoT": 2.0}
    engine = scripted({"Generate": "so 7"}, delays, fail=lambda name: name == "GenerateCoT")
    trace = play(engine, (("Generate", "GenerateCoT"), ("SelfRefine",)), runner=no_abort(engine))
    assert starts(trace) == [[0.0, 0.0], [5.0]]
    assert engine.requests[-1].messages[-1].content.endswith("Solution: so 7")
    assert critical_path(trace, "seconds").critical == (frozenset({0}), frozenset({0}))


def test_where_a_whole_layer_fails_the_layer_before_it_decides() -> None:
    delays = {"Generate": 3.0, "GenerateCoT": 2.0}
    engine = scripted({"Generate": "so 7"}, delays, fail=lambda name: name == "GenerateCoT")
    trace = play(engine, (("Generate",), ("GenerateCoT",), ("SelfRefine",)), runner=no_abort(engine))
    assert starts(trace) == [[0.0], [0.0], [3.0]]
    assert engine.requests[-1].messages[-1].content.endswith("Solution: so 7")


def test_with_nothing_to_read_it_fails_as_in_layers() -> None:
    engine = scripted({}, {}, fail=lambda name: True)
    trace = play(engine, (("Generate",), ("SelfRefine", "ScEnsemble")))
    assert [span.failure.kind for span in trace.layers[1].operators if span.failure] == ["NothingToRead"] * 2
    assert trace.failure is not None
    assert starts(trace)[1] == [1.0, 1.0]


def test_an_early_stop_leaves_an_empty_layer() -> None:
    trace = play(scripted({}, {"Generate": 2.0}), (("Generate",), (EARLY_STOP,)))
    assert trace.layers[1].operators == ()
    assert (trace.layers[1].started, trace.layers[1].ended) == (2.0, 2.0)
    assert critical_path(trace, "seconds").stages == (2.0, 0.0, 0.0)


def test_three_of_five_that_agree_stop_the_rest() -> None:
    engine = scripted({}, {f"GenerateCoT{copy}": float(i) for i, copy in enumerate(("", "#2", "#3", "#4", "#5"))})
    trace = play(engine, (("GenerateCoT",) * 5,))
    assert trace.ended == 2.0
    assert [span.is_aborted for span in trace.layers[0].operators] == [False, False, False, True, True]
    assert (trace.answer, trace.failure) == ("so 1", None)
    assert engine.num_in_flight == 0
    fourth = trace.layers[0].operators[3]
    [[span]] = fourth.steps
    assert span.kind == "request"
    assert (span.is_aborted, span.failure, span.text) == (True, None, None)
    assert (span.started, span.ended, fourth.ended) == (0.0, 2.0, 2.0)
    assert '"is_aborted":true' in to_json(trace)
    assert critical_path(trace, "seconds").critical == (frozenset({2}),)
    path = critical_path(trace, "tokens")
    assert path.critical == (frozenset({0}),)  # of the three that counted
    assert path.length == 2


def test_what_has_not_begun_is_stopped_too() -> None:
    engine = scripted({}, {"GenerateCoT#5": 9.0})
    trace = play(engine, (("GenerateCoT",) * 5, ("SelfRefine",), (EARLY_STOP,)))
    refine = trace.layers[1].operators[0]
    assert trace.ended == refine.started == refine.ended == 1.0
    assert (refine.is_aborted, refine.steps) == (True, ())


def test_a_tie_goes_to_the_newest() -> None:
    # 1, 1, one to come, and 2, the newest: were the missing one 2 as well, 2 would win the tie.
    engine = scripted({"Generate": "so 2"}, {"GenerateCoT#3": 9.0})
    assert play(engine, (("GenerateCoT", "GenerateCoT", "GenerateCoT", "Generate"),)).ended == 9.0
    # One to come, 2, and 1, 1, the newest: they would win it.
    engine = scripted({"Generate": "so 2"}, {"GenerateCoT": 9.0})
    trace = play(engine, (("GenerateCoT", "Generate", "GenerateCoT", "GenerateCoT"),))
    assert (trace.ended, trace.answer) == (1.0, "so 1")


def test_nothing_is_stopped_before_a_finaliser_an_operator_without_a_bound_or_a_vote() -> None:
    delays = {f"GenerateCoT{copy}": float(i) for i, copy in enumerate(("", "#2", "#3", "#4"))}
    architecture: Architecture = (("GenerateCoT",) * 4,)
    engine = scripted({}, delays)
    finalised = executor(engine, FakeTask(), finaliser=["SelfRefine"])
    assert not any(span.is_aborted for span in requests(play(engine, architecture, runner=finalised)))
    unbounded = executor(engine, FakeTask())
    unbounded.operators["Unbounded"] = FakeOperator("Unbounded", "problem", num_added=1, num_steps=9)
    assert play(engine, ((*architecture[0], "Unbounded"),), runner=unbounded).ended == 9.0
    assert not any(span.is_aborted for span in requests(play(engine, (*architecture, ("ScEnsemble",)))))
    assert not any(span.is_aborted for span in requests(play(engine, architecture, runner=no_abort(engine))))
    task = FakeTask()
    plan = Plan(task.example("test", 0), architecture, "dataflow", is_finalised=False)
    assert any(span.is_aborted for span in requests(run_to_the_end(finalised.run(plan))))


@pytest.mark.parametrize("mode", ["layered", "sequential"])
def test_other_modes_stop_nothing(mode: ExecutionMode) -> None:
    trace = play(scripted({}, {}), (("GenerateCoT",) * 5,), mode)
    assert not any(span.is_aborted for span in requests(trace))


def test_all_samples_of_an_operator_are_stopped_and_those_that_have_ended_kept() -> None:
    def delay_s(request: GenerationRequest) -> float:
        return (
            0.5
            if request.request_id.endswith("MultiGenerateCoT/0/1")
            else 5.0
            if "Multi" in request.request_id
            else 1.0
        )

    engine = ScriptedEngine(lambda request: "so 1", delay_s)
    trace = play(engine, (("MultiGenerateCoT", *["GenerateCoT"] * 4),))
    assert (trace.ended, engine.num_in_flight) == (1.0, 0)
    multi = trace.layers[0].operators[0]
    assert [(span.request_id[-1], span.is_aborted, span.text) for span in requests(trace)[:3]] == [
        ("0", True, None),
        ("1", False, "so 1"),
        ("2", True, None),
    ]
    assert (multi.is_aborted, multi.num_added) == (True, 0)


def test_who_waits_at_the_door_never_reaches_the_engine() -> None:
    engine = scripted({}, {})
    trace = play(engine, (("GenerateCoT",) * 5,), runner=executor(AdmittedEngine(engine, max_in_flight=1), FakeTask()))
    assert (trace.ended, engine.num_in_flight) == (3.0, 0)
    assert [span.is_aborted for span in requests(trace)] == [False, False, False, True, True]
    assert len(engine.requests) == 4  # the fourth had just been let in


def test_a_program_under_way_is_stopped_with_its_operator() -> None:
    engine = scripted({"Programmer": "def solve(): ..."}, {"Programmer": 0.5})
    runner = executor(engine, FakeTask(), sandbox=FakeSandbox(result("4"), seconds=60.0))
    trace = play(engine, (("GenerateCoT",) * 3 + ("Programmer",),), runner=runner)
    assert trace.ended == 1.0
    programmer = trace.layers[0].operators[3]
    tool = programmer.steps[-1][0]
    assert isinstance(tool, ToolSpan)
    assert (tool.status, tool.asked, tool.ended) == ("aborted", 0.5, 1.0)
    assert critical_path(trace, "tokens").length == 2


def test_a_dead_engine_ends_the_rollout_and_all_its_requests() -> None:
    engine = ScriptedEngine(
        delay_s=lambda request: 1.0 if operator_of(request) == "Generate" else 9.0,
        fail=lambda request: EngineDeadError("the core process died"),
    )
    with pytest.raises(EngineDeadError, match="core process"):
        play(engine, (("Generate", "GenerateCoT"), ("MultiGenerateCoT",)))
    assert engine.num_in_flight == 0


async def test_a_cancelled_rollout_leaves_nothing_behind() -> None:
    engine = ScriptedEngine(delay_s=lambda request: 60.0)
    task = FakeTask()
    plan = Plan(task.example("test", 0), (("MultiGenerateCoT", "Generate"), ("SelfRefine",)), "dataflow")
    running = asyncio.create_task(executor(engine, task).run(plan))
    await asyncio.sleep(0.01)
    assert engine.num_in_flight == 4
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.num_in_flight == 0


def test_a_bug_in_an_operator_is_no_answer_and_no_failure_of_a_rollout() -> None:
    class Buggy(Generate):
        async def run(self, call: OperatorCall) -> Update:
            raise KeyError("x")

    engine = ScriptedEngine()
    runner = executor(engine, FakeTask())
    runner.operators["Generate"] = Buggy()
    with pytest.raises(KeyError):
        play(engine, (("Generate", "GenerateCoT"),), runner=runner)
    assert engine.num_in_flight == 0


@pytest.mark.parametrize("mode", ["layered", "dataflow"])
def test_an_operator_that_adds_more_than_it_says_is_told(mode: ExecutionMode) -> None:
    class Liar(Generate):
        async def run(self, call: OperatorCall) -> Update:
            return Update(("so 1", "so 2"))

    runner = executor(ScriptedEngine(), FakeTask())
    runner.operators["Generate"] = Liar()
    with pytest.raises(ConfigError, match="Generate added 2 solutions; its max_added is 1"):
        play(ScriptedEngine(), (("Generate",),), mode, runner)


@pytest.mark.parametrize("mode", ["sequential", "layered", "dataflow"])
def test_nothing_is_replaced_unread(mode: ExecutionMode) -> None:
    engine = ScriptedEngine(lambda request: "so 1" if "GenerateCoT" in operator_of(request) else "so 2")
    runner = executor(engine, FakeTask())
    runner.operators["Vandal"] = ALL["Vandal"]
    trace = play(engine, (("GenerateCoT", "GenerateCoT"), ("Vandal",)), mode, runner)
    assert trace.layers[1].operators[0].num_replaced == 0
    assert trace.answer == "so 1"  # two against the one that claims to stand for nine


def test_every_operator_of_ours_says_how_many_it_adds() -> None:
    assert {name for name, one in OPERATORS.items() if not hasattr(one, "max_added")} == {EARLY_STOP}


def test_what_an_operator_does_not_declare_it_does_not_see() -> None:
    seen: dict[str, tuple[str, ...]] = {}

    @dataclass
    class Spy(FakeOperator):
        async def run(self, call: OperatorCall) -> Update:
            seen[self.name] = call.solutions
            return await super().run(call)

    runner = executor(ScriptedEngine(lambda request: f"by {operator_of(request)}"), FakeTask())
    kinds: tuple[Reads, ...] = ("problem", "solution", "solution_if_any", "solutions")
    runner.operators.update({f"Spy_{kind}": Spy(f"Spy_{kind}", kind, 1) for kind in kinds})
    architecture = (("Generate", "GenerateCoT"), tuple(f"Spy_{kind}" for kind in kinds))
    for mode in ("layered", "dataflow"):
        play(ScriptedEngine(), architecture, mode, runner)
        assert seen == {
            "Spy_problem": (),
            "Spy_solution": ("by GenerateCoT",),
            "Spy_solution_if_any": ("by GenerateCoT",),
            "Spy_solutions": ("by Generate", "by GenerateCoT"),
        }
        seen.clear()
    assert nodes(architecture) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]
