"""A stated model of how likely each operator is right, in place of a language model.

A query q has a latent ease `u_q`, a request s its own noise `e_s`, both standard normal. With correlation r,
`z_s = sqrt(r) u_q + sqrt(1 - r) e_s` is standard normal too, and a request that reads no solution is right where
`z_s < Phi^-1(accuracy)`: so it is right with that probability, and samples of one query are right together. A vote
over n samples then tends to what an infinite number of them would say on that query, never to certainty.

A request that reads a solution is right with probability `keeps` where that was right and `fixes` where it was wrong,
whatever the ease: that comes with what it reads. A wrong request gives one of the query's `num_distractors` wrong
answers, or the wrong one it read. A choice among candidates names one of the commonest answer with probability
`consistent`, else any.

All numbers come from the query's id and the request's seed, so they do not depend on the order of requests.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from statistics import NormalDist

from lamas_local.simulation.occasion import occasion_of
from lamas_local.simulation.profile import OperatorSkill, SkillProfile, TokensProfile
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.tasks.base import Example
from serving.simulated_engine import Response
from serving.types import GenerationRequest

NORMAL = NormalDist()
FILLER = "first we look at what the problem gives and at what it asks for, then we work it out one part after another, "
OFFSETS = (1, -1, 10, 2, -2, -10, 3, -3, 20, 5)
"""What the wrong answers to a question about a number are off by."""


class SkilledModel:
    """A `Responder`: what a model of that skill would write."""

    def __init__(self, task: RememberingTask, skill: SkillProfile, tokens: TokensProfile) -> None:
        """Answer requests about the queries that `task` has given."""
        self._task = task
        self._skill = skill
        self._tokens = tokens

    def respond(self, request: GenerationRequest) -> Response:
        """The response to a request of an operator; its id says which and on which query."""
        occasion = occasion_of(request.request_id)
        skill = self._skill.of(occasion.operator)
        # Independent numbers of this request: whether it is right, how long it is, which wrong answer, which choice.
        noise, length, wrong, repeat = uniforms("request", occasion.query_id, request.seed or 0)
        num_tokens = skill.output_tokens[int(length * len(skill.output_tokens))]
        example = self._task.remembered(occasion.query_id)
        read = request.messages[-1].content[len(example.query.problem) :]
        if request.choices:
            text = self._choose(read, request.choices, skill.consistent, noise, wrong)
            return Response(text, min(num_tokens, request.max_tokens))
        if num_tokens > request.max_tokens:
            return Response(self._reasoning(request.max_tokens, ""), request.max_tokens, is_cut=True)
        answer = self._answer(example, skill, read, noise, wrong, repeat)
        return Response(
            self._reasoning(num_tokens, self._task.prompts.write_answer(answer)),
            num_tokens,
            is_cut=num_tokens == request.max_tokens,
        )

    def _answer(
        self, example: Example, skill: OperatorSkill, read: str, noise: float, wrong: float, repeat: float
    ) -> str:
        """The right answer to an example or a wrong one, from numbers between 0 and 1."""
        right = self._task.right_answer(example)
        seen = self._task.extract_answer(read) if read else None
        if seen is not None and skill.keeps is not None and skill.fixes is not None:
            is_right = noise < (skill.keeps if seen == right else skill.fixes)
        else:
            accuracy = at_difficulty(skill.accuracy, self._task.difficulty(example))
            is_right = is_below(accuracy, ease(example.query.id), noise, self._skill.correlation)
            seen = None
        if is_right:
            return right
        if seen is not None and seen != right and repeat < skill.repeats:
            return seen
        return distractor(example.query.id, right, int(wrong * self._skill.num_distractors))

    def _choose(self, read: str, choices: tuple[str, ...], consistent: float, noise: float, which: float) -> str:
        """One of the candidates in the prompt, whose labels are the choices."""
        if noise < consistent:
            answers = [self._task.extract_answer(text) for text in candidates(read, choices)]
            counts = Counter(answer for answer in answers if answer is not None)
            if counts:
                best = max(counts.values())
                good = [
                    choice
                    for choice, answer in zip(choices, answers, strict=True)
                    if answer is not None and counts[answer] == best
                ]
                return good[int(which * len(good))]
        return choices[int(which * len(choices))]

    def _reasoning(self, num_tokens: int, ending: str) -> str:
        """Text of about as many tokens, the answer at its end; no number in it but the answer's."""
        num_characters = max(int(num_tokens * self._tokens.characters_per_token) - len(ending) - 1, 0)
        filler = (FILLER * (num_characters // len(FILLER) + 1))[:num_characters]
        return f"{filler} {ending}".strip()


def ease(query_id: str) -> float:
    """The query's latent ease, standard normal; small is easy."""
    return NORMAL.inv_cdf(uniforms("query", query_id)[0])


def is_below(probability: float, latent: float, noise: float, correlation: float) -> bool:
    """Whether a request is right, from its query's latent variable and its own noise in (0, 1)."""
    if probability in (0.0, 1.0):
        return probability == 1.0
    z = math.sqrt(correlation) * latent + math.sqrt(1 - correlation) * NORMAL.inv_cdf(noise)
    return z < NORMAL.inv_cdf(probability)


def at_difficulty(accuracy: dict[int, float], level: int) -> float:
    """The accuracy at the nearest difficulty there is; of two, the easier one's."""
    return accuracy[min(sorted(accuracy), key=lambda known: abs(known - level))]


def distractor(query_id: str, right: str, index: int) -> str:
    """A wrong answer to a query: off by a number where the right one is a number. Different ones have other indices."""
    try:
        value = int(right)
    except ValueError:
        return f"wrong {index + 1}"
    start = int(uniforms("distractor", query_id)[0] * len(OFFSETS))
    return str(value + OFFSETS[(start + index) % len(OFFSETS)])


def candidates(read: str, choices: tuple[str, ...]) -> list[str]:
    """The text of each candidate in a prompt that lists them as `LABEL: text`, empty where it is not there."""
    labels = "|".join(re.escape(choice) for choice in choices)
    found = re.split(rf"\n\n({labels}): ", read)
    texts = dict(zip(found[1::2], found[2::2], strict=True))
    return [texts.get(choice, "") for choice in choices]


def uniforms(*parts: str | int) -> tuple[float, float, float, float]:
    """Four independent numbers in (0, 1) that depend on the parts and on nothing else."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=32).digest()
    first, second, third, fourth = (int.from_bytes(digest[i : i + 6], "big") for i in (0, 8, 16, 24))
    return _unit(first), _unit(second), _unit(third), _unit(fourth)


def _unit(number: int) -> float:
    return (number + 0.5) / 2**48
