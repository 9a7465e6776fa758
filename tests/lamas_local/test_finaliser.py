"""The vote over the solutions that remain."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamas_local.dataflow import Node, inputs, merge_layers, nodes
from lamas_local.finaliser import is_decided, vote
from lamas_local.operators import Operator, OperatorCall, Reads, Update


def last_word(solution: str) -> str | None:
    """A solution's last word; none where it ends in a question mark."""
    return None if solution.endswith("?") else solution.split()[-1]


@pytest.mark.parametrize(
    ("solutions", "winner"),
    [
        (["only 1"], "only 1"),
        (["a 1", "b 2", "c 1"], "c 1"),  # the newest that gives the winning answer
        (["a 1", "b 2"], "b 2"),  # of equal answers the newest
        (["a 1", "b 2", "c 1", "d 2"], "d 2"),
        (["a 1", "no?", "none?", "nor?"], "a 1"),  # no answer is no vote
        (["no?", "none?"], "none?"),  # unless nobody has one
    ],
)
def test_the_commonest_answer_wins(solutions: list[str], winner: str) -> None:
    assert vote(solutions, last_word) == winner


def test_an_empty_answer_is_an_answer() -> None:
    assert vote(["", "", "x"], lambda solution: solution) == ""


# Whether it is decided. A solution is its answer here; "?" has none.


@dataclass
class ToCome:
    """An operator that has not ended."""

    reads: Reads = "problem"
    max_added: int | None = 1
    name: str = "ToCome"
    description: str = ""

    async def run(self, call: OperatorCall) -> Update:
        raise NotImplementedError


def answer(solution: str) -> str | None:
    return None if solution == "?" else solution


def added(*solutions: str, num_replaced: int = 0) -> Update:
    return Update(solutions, num_replaced)


Layers = list[list[Update | Operator]]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([[added("1"), added("1"), ToCome()]], True),
        ([[added("1"), ToCome()]], False),  # one more of another answer would be the newer
        ([[ToCome(), added("1")]], True),  # a tie, and this is the newer
        ([[ToCome(max_added=2), added("1")]], False),
        ([[added("1"), added("2"), ToCome()]], False),
        ([[ToCome(), added("2"), added("1"), added("1")]], True),  # 2 may catch up, but not overtake
        ([[added("1"), added("1"), ToCome(), added("2")]], False),  # here it may: 2 is the newest
        ([[added("?"), added("1"), added("1")], [ToCome()]], True),
        ([[added("?"), added("?"), ToCome()]], False),  # without any answer, the newest solution stays
        ([[added("1", "1", "1"), ToCome(max_added=None)]], False),
        ([[added("1", "1", "1")], [ToCome(reads="solutions")]], False),
        ([[added("1", "1", "1")], [ToCome(reads="solution")]], True),  # two of three remain at least
        ([[added("1", "1")], [ToCome(reads="solution")]], False),
        ([[added("1", "2")], [added("1", "1", num_replaced=2), ToCome(reads="solution")]], True),
        ([[added("1", "1", "1")], [ToCome(reads="solution_if_any")], [ToCome(reads="solution")]], False),
        ([[ToCome(reads="solution_if_any")]], False),
        ([[ToCome(max_added=0), added("1")]], True),
        ([[added("1", "1", "1")], [added("2", num_replaced=3)], [ToCome()]], False),  # nothing is left of the 1s
        ([[added("2", "1", "1")], [added("2", num_replaced=1)], [ToCome(max_added=0)]], True),
        ([[], [ToCome()]], False),
    ],
)
def test_decided_by_hand(layers: Layers, expected: bool) -> None:
    assert is_decided(layers, answer) is expected


@st.composite
def half_ended(draw: st.DrawFn, kinds: list[Reads]) -> Layers:
    """A rollout under way: who could have ended has, or has not."""
    reads = draw(st.lists(st.lists(st.sampled_from(kinds), max_size=3), min_size=1, max_size=3))
    results: dict[Node, Update] = {}
    operators: dict[Node, Operator] = {}
    for node in nodes(reads):
        found = inputs(reads, node, results)
        operators[node] = ToCome(reads[node[0]][node[1]], draw(st.sampled_from([1, 1, 2])))
        if found is not None and (len(operators) - len(results) > 2 or draw(st.booleans())):
            solutions = draw(st.lists(st.sampled_from("1112?"), max_size=2))
            results[node] = Update(tuple(solutions), draw(st.integers(0, len(found.solutions))))
    return [[results.get((i, j), operators[i, j]) for j in range(len(drawn))] for i, drawn in enumerate(reads)]


def endings(layers: Layers) -> Iterator[dict[Node, Update]]:
    """Everything that may yet happen."""
    choices: list[list[tuple[Node, Update]]] = []
    for i, j in nodes(layers):
        one = layers[i][j]
        if isinstance(one, Update):
            choices.append([((i, j), one)])
            continue
        texts = [text for n in range((one.max_added or 0) + 1) for text in itertools.product("123?", repeat=n)]  # type: ignore[attr-defined]
        most = {"problem": 0, "solutions": 9}.get(one.reads, 1)
        choices.append([((i, j), Update(text, n)) for text in texts for n in range(most + 1)])
    if len(list(itertools.chain(*choices))) > 120:
        return
    yield from (dict(ending) for ending in itertools.product(*choices))


def outcomes(layers: Layers) -> set[str | None]:
    solutions = (merge_layers(layers, ending) for ending in endings(layers))
    return {answer(vote(one, answer)) if one else None for one in solutions}


@settings(max_examples=150)
@given(half_ended(["problem", "problem", "solution", "solution_if_any", "solutions"]))
def test_what_is_decided_cannot_come_out_otherwise(layers: Layers) -> None:
    if is_decided(layers, answer):
        assert len(outcomes(layers)) <= 1


@settings(max_examples=150)
@given(half_ended(["problem"]))
def test_where_nothing_can_be_replaced_it_is_decided_as_soon_as_it_is(layers: Layers) -> None:
    possible = outcomes(layers)
    if possible and possible != {None}:
        assert is_decided(layers, answer) == (len(possible) == 1)
