"""What a benchmark is: examples, the pieces of prompt that are its own, and the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question put to the system."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its gold answer, which only the task's scorer sees."""

    query: Query
    gold: str


class Task(Protocol):
    """A benchmark."""

    @property
    def answer_format(self) -> str:
        """One sentence telling the model how to write its final answer."""
        ...

    def example(self, split: Split, index: int) -> Example:
        """The example at a position of a split's fixed order; positions past the end start over."""
        ...

    def extract_answer(self, solution: str) -> str | None:
        """The final answer in a solution's text, in a form where equal answers are equal strings; None without one."""
        ...

    def score(self, example: Example, solution: str) -> float:
        """Quality of a solution in [0, 1]."""
        ...
