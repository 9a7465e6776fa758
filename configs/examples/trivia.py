"""A task and an operator of your own: easy questions, and a debate about them.

lamas-local train --config configs/examples/trivia.yaml
"""

from __future__ import annotations

import re

from lamas_local.operators import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt
from lamas_local.tasks import Example, Query, Split, TaskPrompts

QUESTIONS = (
    ("What is the capital of France?", "Paris"),
    ("Which planet is closest to the Sun?", "Mercury"),
    ("What colour do you get from blue and yellow paint?", "green"),
    ("Which animal barks?", "dog"),
    ("On which continent does Egypt lie?", "Africa"),
    ("What do bees make?", "honey"),
    ("Which metal has the chemical symbol Fe?", "iron"),
    ("What is frozen water called?", "ice"),
    ("Which month comes after March?", "April"),
    ("What is the capital of Italy?", "Rome"),
    ("Which ocean lies between Europe and America?", "Atlantic"),
    ("What is the opposite of hot?", "cold"),
    ("Which gas do people need to breathe?", "oxygen"),
    ("Which season comes after winter?", "spring"),
    ("What is the young of a cat called?", "kitten"),
    ("Which language is spoken in Brazil?", "Portuguese"),
    ("What is the largest planet of the solar system?", "Jupiter"),
    ("Which day comes before Tuesday?", "Monday"),
    ("What is the capital of Japan?", "Tokyo"),
    ("Which instrument has 88 keys?", "piano"),
    ("What do cows drink?", "water"),
    ("Which star gives the Earth its light?", "Sun"),
    ("What is the capital of Germany?", "Berlin"),
    ("Which fruit do raisins come from?", "grape"),
    ("What is the first letter of the English alphabet?", "A"),
    ("Which organ pumps blood through the body?", "heart"),
    ("What is the capital of Spain?", "Madrid"),
    ("Which colour is a ripe banana?", "yellow"),
    ("What is the tallest animal?", "giraffe"),
    ("Which sense do the ears serve?", "hearing"),
)


class Trivia:
    """Every third question is a test question, so the splits are disjoint; an answer is one word."""

    prompts = TaskPrompts("End with 'Answer:' and one word.", brevity="in one short sentence")

    def __init__(self, num_questions: int = len(QUESTIONS)) -> None:
        questions = QUESTIONS[:num_questions]
        self._splits: dict[Split, list[tuple[str, str]]] = {
            "train": [one for i, one in enumerate(questions) if i % 3],
            "test": [one for i, one in enumerate(questions) if i % 3 == 0],
        }

    def num_examples(self, split: Split) -> int:
        """Size of a split."""
        return len(self._splits[split])

    def example(self, split: Split, index: int) -> Example:
        """The question at a position; positions past the end start over."""
        position = index % self.num_examples(split)
        question, answer = self._splits[split][position]
        return Example(Query(f"trivia-{split}-{position}", question), answer.lower())

    def extract_answer(self, solution: str) -> str | None:
        """The word after the last 'Answer:', else the last word, in lower case."""
        _, marker, tail = solution.rpartition("Answer:")
        words = re.findall(r"\w+", tail.lower())
        return None if not words else words[0] if marker else words[-1]

    async def score(self, example: Example, solution: str) -> float:
        """1 for the right word, else 0."""
        return float(self.extract_answer(solution) == example.gold)

    async def close(self) -> None:
        """Nothing to end."""


class Debate:
    """Two debaters answer at once; a judge picks one."""

    name = "Debate"
    description = "Lets two debaters argue for their answers at the same time, and a judge picks the better one."
    reads: Reads = "problem"
    max_added = 1
    stances = ("Give the obvious answer and a reason for it", "Doubt the obvious answer and give a better one")

    async def run(self, call: OperatorCall) -> Update:
        """Two requests at once, then one that is held to a letter."""
        answers = await call.ask_together(
            [Prompt(call.prompts.reasoning(stance), call.problem) for stance in self.stances]
        )
        if len(answers) < 2:  # the other debater's request failed
            return Update(added=tuple(answers))
        judge = Prompt(
            instruction="Two debaters answer a question. Judge who is right.",
            problem=call.problem,
            solutions=(("A", answers[0]), ("B", answers[1])),
            question="Reply with the letter of the better answer.",
        )
        [letter] = await call.ask(judge, choices=("A", "B"))
        return Update(added=(answers["AB".index(letter)],))
