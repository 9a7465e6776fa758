"""Prompts are data, and one that is too long is cut by the stated rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.prompt import Prompt, fair_shares, fit_prompt
from serving.fake_engine import FakeEngine

ENGINE = FakeEngine()


def words(start: str, number: int) -> str:
    return " ".join(f"{start}{i}" for i in range(number))


def test_a_short_prompt_is_left_alone() -> None:
    prompt = Prompt("Do it.", "What is {0}?", (("A", r"\boxed{-2}"), ("B", "{name}")), "Which?")
    fitted = fit_prompt(prompt, ENGINE, 1000)
    assert fitted.num_cut_tokens == 0
    assert [(message.role, message.content) for message in fitted.messages] == [
        ("system", "Do it."),
        ("user", "What is {0}?\n\nA: \\boxed{-2}\n\nB: {name}\n\nWhich?"),
    ]


def test_a_prompt_that_just_fits_is_left_alone() -> None:
    prompt = Prompt("Do it.", words("p", 96))
    assert ENGINE.count_chat_tokens(fit_prompt(prompt, ENGINE, 1000).messages) == 100
    assert fit_prompt(prompt, ENGINE, 100).num_cut_tokens == 0
    assert fit_prompt(prompt, ENGINE, 99).num_cut_tokens == 1


def test_solutions_are_cut_first_and_keep_their_end() -> None:
    # Fixed: 2 roles, 1 instruction, 3 problem, 2 labels, 1 question = 9; 11 are left, 2 for the short one.
    prompt = Prompt("Do", words("p", 3), (("A", words("a", 30)), ("B", "b0 b1")), "Which?")
    fitted = fit_prompt(prompt, ENGINE, 20)
    assert fitted.messages[1].content == ("p0 p1 p2\n\nA: a21 a22 a23 a24 a25 a26 a27 a28 a29\n\nB: b0 b1\n\nWhich?")
    assert fitted.num_cut_tokens == 21


def test_then_the_problem_is_cut_and_keeps_its_start() -> None:
    prompt = Prompt("Do", words("p", 30), (("A", words("a", 30)),), "Which?")
    fitted = fit_prompt(prompt, ENGINE, 10)
    assert fitted.messages[1].content == "p0 p1 p2 p3 p4\n\nA: \n\nWhich?"
    assert fitted.num_cut_tokens == 55


def test_an_instruction_that_cannot_fit_is_not_cut() -> None:
    prompt = Prompt(words("i", 50), "p")
    assert fit_prompt(prompt, ENGINE, 10).messages[0].content == words("i", 50)


TEXT = st.lists(st.sampled_from(["{0}", "{name}", r"\boxed{-2}", "%s", "seven", "7", "\n"]), max_size=60).map(" ".join)


@given(problem=TEXT, solutions=st.lists(TEXT, max_size=5), limit=st.integers(20, 400))
def test_it_always_fits_counts_what_it_cut_and_keeps_the_right_ends(
    problem: str, solutions: list[str], limit: int
) -> None:
    labelled = tuple(zip("ABCDE", solutions, strict=False))
    prompt = Prompt("Choose the best one.", problem, labelled, "Reply with a letter.")
    whole = ENGINE.count_chat_tokens(fit_prompt(prompt, ENGINE, 10**6).messages)
    fitted = fit_prompt(prompt, ENGINE, limit)
    length = ENGINE.count_chat_tokens(fitted.messages)
    assert length <= limit
    assert fitted.num_cut_tokens == whole - length
    assert whole > limit or fitted.num_cut_tokens == 0
    assert fitted.messages[0].content == "Choose the best one."
    user = fitted.messages[1].content.split()
    assert user[-4:] == ["Reply", "with", "a", "letter."]
    kept = _kept(fitted.messages[1].content, [label for label, _ in labelled])
    assert problem.split()[: len(kept[0])] == kept[0]
    for solution, left in zip(solutions, kept[1:], strict=True):
        assert solution.split()[len(solution.split()) - len(left) :] == left
    if kept[0] != problem.split():
        assert not any(kept[1:])


def _kept(content: str, labels: list[str]) -> list[list[str]]:
    """The words of the problem, then of each solution."""
    parts = [[]]  # type: list[list[str]]
    for word in content.split()[:-4]:
        if len(parts) <= len(labels) and word == f"{labels[len(parts) - 1]}:":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


@pytest.mark.parametrize(
    ("lengths", "budget", "shares"),
    [
        ([10, 10, 10], 30, [10, 10, 10]),
        ([100, 2, 100], 22, [10, 2, 10]),
        ([5, 5], 0, [0, 0]),
        ([], 10, []),
        ([100, 100], 11, [5, 6]),
    ],
)
def test_fair_shares(lengths: list[int], budget: int, shares: list[int]) -> None:
    assert fair_shares(lengths, budget) == shares


@given(lengths=st.lists(st.integers(0, 50), max_size=8), budget=st.integers(0, 200))
def test_fair_shares_waste_nothing_and_give_nobody_too_much(lengths: list[int], budget: int) -> None:
    shares = fair_shares(lengths, budget)
    assert all(0 <= share <= length for share, length in zip(shares, lengths, strict=True))
    assert sum(shares) == min(budget, sum(lengths))
    cut = [share for share, length in zip(shares, lengths, strict=True) if share < length]
    assert max(shares, default=0) - min(cut, default=max(shares, default=0)) <= 1
