"""Generated short word problems: unlimited in number, with levels of difficulty, train and test disjoint."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Example, Query, Split, TaskPrompts

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ivy", "Jon", "Kim", "Leo", "Mia", "Ned", "Zoe")
THINGS = ("apples", "books", "coins", "eggs", "pens", "stamps", "shells", "cards", "marbles", "stickers")
BOXES = ("boxes", "bags", "jars", "baskets", "drawers")
COLOURS = ("red", "blue", "green", "white", "black")
ADDING = "There are {0} {colour} {things} and {1} {other} {things}. How many {things} are there in total?"
MULTIPLYING = "There are {0} {boxes} with {1} {things} in each. How many {things} are there in total?"
TEST_SHARE = 5
"""One in this many sets of numbers belongs to the test split."""
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MARKER = re.compile(r"(?i)answer\s*(?::|is\b)|####")


@dataclass(frozen=True, slots=True)
class Sum:
    """The numbers of a problem and what becomes of them: what decides the split."""

    template: str
    numbers: tuple[int, ...]
    gold: int


def one_digit_sum(rng: random.Random) -> Sum:
    """Level 1."""
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return Sum(ADDING, (a, b), a + b)


def one_digit_product(rng: random.Random) -> Sum:
    """Level 2."""
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return Sum(MULTIPLYING, (a, b), a * b)


def two_digit_sum_or_difference(rng: random.Random) -> Sum:
    """Level 3."""
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    if rng.random() < 0.5:
        return Sum(ADDING, (a, b), a + b)
    a, b = max(a, b), min(a, b)
    return Sum("{name} has {0} {things}. {name} gives away {1} {things}. How many {things} are left?", (a, b), a - b)


def two_steps(rng: random.Random) -> Sum:
    """Level 4."""
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(10, 50)
    template = (
        "There are {0} {boxes} with {1} {things} in each, and {2} loose {things}. How many {things} are there in total?"
    )
    return Sum(template, (a, b, c), a * b + c)


LEVELS: dict[int, Callable[[random.Random], Sum]] = {
    1: one_digit_sum,
    2: one_digit_product,
    3: two_digit_sum_or_difference,
    4: two_steps,
}


class ArithmeticTask:
    """Word problems made from a seed; the same seed, split and index give the same example on every machine."""

    prompts = TaskPrompts(answer_format="End with 'Answer:' and the number.", brevity="in one or two short sentences")

    def __init__(self, levels: Sequence[int], seed: int) -> None:
        self.levels = tuple(levels)
        self.seed = seed

    def num_examples(self, split: Split) -> int | None:
        """None: there is no last one."""
        return None

    def example(self, split: Split, index: int) -> Example:
        """Drawn again until its numbers belong to the split, so that no sum of the test is ever trained on."""
        rng = random.Random(derive_seed(self.seed, "arithmetic", split, index))
        level = self.levels[index % len(self.levels)]
        while (problem := LEVELS[level](rng)) and split_of(problem) != split:
            pass
        colour, other = rng.sample(COLOURS, 2)
        names = {"name": rng.choice(NAMES), "things": rng.choice(THINGS), "boxes": rng.choice(BOXES)}
        text = problem.template.format(*problem.numbers, colour=colour, other=other, **names)
        return Example(Query(f"arithmetic-{split}-{index}", text), str(problem.gold))

    def extract_answer(self, solution: str) -> str | None:
        """The first number after the last 'Answer:', 'answer is' or '####', else the last number."""
        *_, tail = MARKER.split(solution)
        found = NUMBER.findall(tail)[:1] if MARKER.search(solution) else []
        found = found or NUMBER.findall(solution)[-1:]
        if not found:
            return None
        value = float(found[0].replace(",", ""))
        return str(int(value)) if value.is_integer() else str(value)

    async def score(self, example: Example, solution: str) -> float:
        """1 where the extracted number equals the gold one, else 0."""
        return float(self.extract_answer(solution) == example.gold)

    async def close(self) -> None:
        """Nothing was started."""


def split_of(problem: Sum) -> Split:
    """The split a set of numbers belongs to, in whatever order they stand."""
    bucket = derive_seed("split", *sorted(problem.numbers)) % TEST_SHARE
    return "test" if bucket == 0 else "train"
