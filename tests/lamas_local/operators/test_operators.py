"""What each operator asks and what it does to the solutions. Braces are data everywhere."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.config import ConfigError
from lamas_local.operators import EARLY_STOP, OPERATORS, Operator, Update, load_operators, merge
from lamas_local.operators.early_stop import EarlyStop
from lamas_local.operators.generate import Generate
from lamas_local.operators.generate_cot import GenerateCoT
from lamas_local.operators.multi_generate_cot import MultiGenerateCoT
from lamas_local.operators.sc_ensemble import ScEnsemble
from lamas_local.operators.self_refine import SelfRefine
from lamas_local.tasks import TaskPrompts
from tests.lamas_local.operators.call import HOSTILE, Call


async def test_how_a_direct_answer_looks_is_the_tasks_to_say() -> None:
    call = Call("x", prompts=TaskPrompts("End.", direct="Only the {code}.", direct_stop=("\n\n",)))
    await Generate().run(call)
    assert call.asked[0][0].instruction == "Only the {code}."
    assert call.stops == [("\n\n",)]


@pytest.mark.parametrize("brevity", ["", "in one word"])
async def test_how_long_reasoning_may_be_is_the_tasks_to_say(brevity: str) -> None:
    call = Call("x", prompts=TaskPrompts("End.", brevity=brevity))
    await GenerateCoT().run(call)
    assert call.asked[0][0].instruction == f"Think step by step{', in one word' if brevity else ''}. End."


@pytest.mark.parametrize("operator", [Generate(), GenerateCoT()])
async def test_a_generator_adds_one_solution_made_from_the_problem(operator: Operator) -> None:
    call = Call(r"\boxed{4} {0}")
    assert merge(("old",), [await operator.run(call)]) == ("old", r"\boxed{4} {0}")
    [(prompt, num_samples, choices)] = call.asked
    assert (prompt.problem, prompt.solutions, num_samples, choices) == (HOSTILE, (), 1, None)
    assert operator.reads == "problem"


async def test_multi_generate_asks_for_three_samples_at_once_and_takes_those_it_gets() -> None:
    call = Call("a", "c")
    assert await MultiGenerateCoT().run(call) == Update(added=("a", "c"))
    [(_, num_samples, _)] = call.asked
    assert num_samples == 3


async def test_chains_share_their_prompt_and_carry_the_answer_format() -> None:
    one, many = Call("a"), Call("a")
    await GenerateCoT().run(one)
    await MultiGenerateCoT().run(many)
    assert one.asked[0][0] == many.asked[0][0]
    assert "End with 'Answer:' {0}." in one.asked[0][0].instruction


async def test_self_refine_reads_the_current_solution_and_adds_another() -> None:
    call = Call("better", solutions=("first", "{0} second"))
    assert merge(call.solutions, [await SelfRefine().run(call)]) == ("first", "{0} second", "better")
    assert [text for _, text in call.asked[0][0].solutions] == ["{0} second"]


async def test_the_vote_keeps_one_of_the_candidates() -> None:
    call = Call("B", solutions=("a", r"\boxed{b}", "c"))
    assert merge(call.solutions, [await ScEnsemble().run(call)]) == (r"\boxed{b}",)
    [(prompt, _, choices)] = call.asked
    assert choices == ("A", "B", "C")
    assert prompt.solutions == (("A", "a"), ("B", r"\boxed{b}"), ("C", "c"))


async def test_one_candidate_needs_no_request() -> None:
    call = Call(solutions=("only",))
    assert merge(call.solutions, [await ScEnsemble().run(call)]) == ("only",)
    assert call.asked == []


@pytest.mark.parametrize("num_candidates", [2, 26, 30])
async def test_letters_are_always_among_the_candidates(num_candidates: int) -> None:
    candidates = tuple(f"solution {i}" for i in range(num_candidates))
    for letter in string.ascii_uppercase[: min(num_candidates, 26)]:
        call = Call(letter, solutions=candidates)
        update = await ScEnsemble().run(call)
        assert merge(candidates, [update]) == (candidates[-26:][string.ascii_uppercase.index(letter)],)
        choices = call.asked[0][2]
        assert choices is not None
        assert len(choices) == min(num_candidates, 26)


@given(st.lists(st.text(), max_size=6), st.lists(st.tuples(st.lists(st.text(), max_size=3), st.integers(0, 8))))
def test_merging_loses_nothing_that_was_added_and_nothing_that_nobody_replaced(
    before: list[str], drawn: list[tuple[list[str], int]]
) -> None:
    updates = [Update(tuple(added), min(num_replaced, len(before))) for added, num_replaced in drawn]
    after = merge(tuple(before), updates)
    added = [text for update in updates for text in update.added]
    assert list(after[len(after) - len(added) :]) == added
    kept = list(after[: len(after) - len(added)])
    assert kept == before[: len(kept)]
    assert all(len(before) - update.num_replaced >= len(kept) for update in updates)
    assert len(kept) == len(before) or any(len(before) - update.num_replaced == len(kept) for update in updates)


async def test_a_vote_leaves_what_its_siblings_added() -> None:
    update = await ScEnsemble().run(Call("A", solutions=("a", "b")))
    assert merge(("a", "b"), [Update(("a sibling's",)), update]) == ("a sibling's", "a")
    assert merge(("a", "b"), [update, update, Update(("a sibling's",))]) == ("a", "a", "a sibling's")


async def test_early_stop_does_nothing() -> None:
    call = Call(solutions=("a",))
    assert merge(("a",), [await EarlyStop().run(call)]) == ("a",)
    assert call.asked == []


def test_every_operator_describes_itself_in_one_sentence_of_its_own() -> None:
    descriptions = {operator.description for operator in OPERATORS.values()}
    assert len(descriptions) == len(OPERATORS)
    assert all(text.endswith(".") and text.count(".") == 1 for text in descriptions)
    assert EARLY_STOP in OPERATORS
    assert all(name == operator.name for name, operator in OPERATORS.items())


def test_loading_keeps_the_order() -> None:
    assert [operator.name for operator in load_operators(["ScEnsemble", "Generate"])] == ["ScEnsemble", "Generate"]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["Generat"], "'Generat' is unknown .*'Generate'.*known: Generate, "), (["Generate", "Generate"], "twice")],
)
def test_unknown_and_repeated_operators_are_errors(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_operators(names)
