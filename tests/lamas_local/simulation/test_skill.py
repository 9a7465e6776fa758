"""The stated model, against its own equations over many queries."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from statistics import NormalDist, fmean
from typing import Any

import pytest

from lamas_local.operators.sc_ensemble import LETTERS
from lamas_local.simulation.profile import OperatorSkill, SkillProfile, TokensProfile
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.skill import SkilledModel, at_difficulty, candidates, distractor, uniforms
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Example
from serving.types import GenerationRequest, Message

NUM_QUERIES = 1500
TOKENS = TokensProfile(characters_per_token=4.0, template_tokens=3)


def make_skill(correlation: float = 0.5, num_distractors: int = 3, **facts: Any) -> SkillProfile:
    one = OperatorSkill(**{"accuracy": {1: 0.6}, "output_tokens": (10, 20, 30), **facts})
    return SkillProfile(correlation=correlation, num_distractors=num_distractors, operators={}, other=one)


class World:
    """A task and a model of some skill at it."""

    def __init__(self, **facts: Any) -> None:
        self.task = RememberingTask(ArithmeticTask([1], seed=0))
        self.examples = [self.task.example("test", index) for index in range(NUM_QUERIES)]
        self.model = SkilledModel(self.task, make_skill(**facts), TOKENS)

    def ask(self, example: Example, seed: int, read: str = "", **settings: Any) -> str:
        """The answer of one request."""
        response = self.model.respond(self.request(example, seed, read, **settings))
        return self.task.extract_answer(response.text) or ""

    def request(
        self, example: Example, seed: int, read: str = "", max_tokens: int = 64, **settings: Any
    ) -> GenerationRequest:
        place = f"train-1/{example.query.id}/0/0/Generate/0/0"
        messages = (Message("system", "Answer."), Message("user", example.query.problem + read))
        return GenerationRequest(place, messages, max_tokens, 1.0, seed=seed, **settings)

    def samples(self, number: int) -> list[list[bool]]:
        """For each query, whether so many samples are right."""
        return [[self.ask(one, seed) == one.gold for seed in range(number)] for one in self.examples]


def within_noise(share: float, expected: float, number: int) -> bool:
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / number)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_a_request_is_right_as_often_as_stated_and_pairs_as_the_correlation_says(correlation: float) -> None:
    right = World(correlation=correlation).samples(2)
    assert within_noise(fmean(one for one, _ in right), 0.6, NUM_QUERIES)
    bound, normal, steps = NormalDist().inv_cdf(0.6), NormalDist(), 2000
    eases = [normal.inv_cdf((i + 0.5) / steps) for i in range(steps)]
    both = fmean(
        normal.cdf((bound - math.sqrt(correlation) * ease) / math.sqrt(1 - correlation)) ** 2 for ease in eases
    )
    assert within_noise(fmean(one and other for one, other in right), both, NUM_QUERIES)


def test_a_vote_helps_less_the_more_alike_the_samples_are() -> None:
    gains = []
    for correlation in (0.0, 0.5, 0.9):
        right = World(correlation=correlation).samples(5)
        gains.append(fmean(sum(one) >= 3 for one in right) - fmean(one[0] for one in right))
    assert gains[0] > gains[1] > gains[2]
    assert gains[0] > 0.05


def test_wrong_answers_are_a_few_different_ones_and_never_the_right_one() -> None:
    world = World(accuracy={1: 0.0}, num_distractors=3)
    for example in world.examples[:50]:
        answers = Counter(world.ask(example, seed) for seed in range(60))
        assert len(answers) == 3
        assert example.gold not in answers
        assert min(answers.values()) > 5
    for right in ("7", "12 apples"):
        assert len({distractor("q", right, index) for index in range(10)} - {right}) == 10


def test_who_reads_is_right_by_what_it_reads() -> None:
    world = World(keeps=0.9, fixes=0.2, repeats=0.75)
    shares = {"right": [0, 0], "wrong": [0, 0]}
    repeated = 0
    for example in world.examples:
        wrong = distractor(example.query.id, example.gold, 0)
        for name, answer in (("right", example.gold), ("wrong", wrong)):
            said = world.ask(example, 1, f"\n\nSolution: we think. Answer: {answer}")
            shares[name][said == example.gold] += 1
            repeated += name == "wrong" and said == wrong
    assert within_noise(shares["right"][1] / NUM_QUERIES, 0.9, NUM_QUERIES)
    assert within_noise(shares["wrong"][1] / NUM_QUERIES, 0.2, NUM_QUERIES)
    # Those that do not repeat it give one of three, of which it is one.
    assert within_noise(repeated / shares["wrong"][0], 0.75 + 0.25 / 3, shares["wrong"][0])


def test_a_choice_names_the_commonest_answer_as_often_as_stated() -> None:
    listed = "".join(f"\n\n{letter}: Answer: {answer}" for letter, answer in zip("ABCD", "7977", strict=True))
    read = listed + "\n\nReply with the letter of the best candidate."
    for consistent, expected in ((1.0, 1.0), (0.5, 0.5 + 0.5 * 0.75), (0.0, 0.75)):
        world = World(consistent=consistent)
        said = [
            world.model.respond(world.request(one, 3, read, choices=("A", "B", "C", "D"))).text
            for one in world.examples
        ]
        share = fmean(letter != "B" for letter in said)
        assert share == 1.0 if expected == 1.0 else within_noise(share, expected, NUM_QUERIES)
        assert set(said) <= set("ABCD")


def test_an_answer_that_does_not_fit_is_cut_before_it_comes() -> None:
    world = World(accuracy={1: 1.0})
    lengths: Counter[tuple[int, bool, bool]] = Counter()
    for seed in range(300):
        response = world.model.respond(world.request(world.examples[0], seed, max_tokens=20))
        lengths[response.num_output_tokens, response.is_cut, world.task.extract_answer(response.text) is None] += 1
    assert set(lengths) == {(10, False, False), (20, True, False), (20, True, True)}
    assert all(count > 60 for count in lengths.values())


def test_texts_are_about_as_long_as_their_tokens() -> None:
    world = World(output_tokens=(30,))
    text = world.model.respond(world.request(world.examples[0], 1)).text
    assert 30 * 4 - 3 <= len(text) <= 30 * 4


def test_nothing_depends_on_the_order_of_requests() -> None:
    world = World()
    pairs = [(example, seed) for example in world.examples[:20] for seed in range(5)]
    forwards = {(one.query.id, seed): world.ask(one, seed) for one, seed in pairs}
    assert forwards == {(one.query.id, seed): world.ask(one, seed) for one, seed in reversed(pairs)}


def test_accuracy_is_that_of_the_nearest_difficulty() -> None:
    assert [at_difficulty({2: 0.2, 4: 0.4}, level) for level in (1, 2, 3, 4, 9)] == [0.2, 0.2, 0.2, 0.4, 0.4]


def test_candidates_are_read_by_their_labels() -> None:
    read = "\n\nA: one\n\nB: two\n\nReply."
    assert candidates(read, ("A", "B", "C")) == ["one", "two\n\nReply.", ""]
    assert len(candidates("", tuple(LETTERS))) == 26


def test_numbers_are_uniform_and_not_correlated() -> None:
    drawn = [uniforms("x", index) for index in range(4000)]
    for column in zip(*drawn, strict=True):
        assert abs(fmean(column) - 0.5) < 0.02
        assert 0 < min(column) < max(column) < 1
    for first, second in combinations(zip(*drawn, strict=True), 2):
        assert abs(fmean((a - 0.5) * (b - 0.5) for a, b in zip(first, second, strict=True)) * 12) < 0.07
