"""What a benchmark is: examples, the pieces of prompt that are its own, and the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from serving.types import Message

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question put to the system."""

    id: str
    problem: str
    entry_point: str | None = None
    """The function that is to be written, where the answer is code; the problem's text names it too."""
    context: tuple[Message, ...] = ()
    """What was said before, oldest turn first; system turns are added to the operators' instructions."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its gold answer or hidden tests, which only the task's scorer sees."""

    query: Query
    gold: str


@dataclass(frozen=True, slots=True)
class TaskPrompts:
    """The pieces of prompt that are a benchmark's own."""

    answer_format: str
    """One sentence telling the model how to write its final answer after its reasoning."""
    direct: str = "Reply with only the final answer, in one short line."
    """The instruction for an answer without reasoning."""
    direct_stop: tuple[str, ...] = ("\n",)
    """Where such an answer ends."""
    brevity: str = ""
    """How long reasoning may be, such as `in one or two short sentences`; empty leaves it to the model."""
    answer_prefix: str = "Answer: "
    """What a program's result is written after, so that `extract_answer` finds it."""
    answer_suffix: str = ""
    """What a program's result is written before."""

    def reasoning(self, instruction: str) -> str:
        """An instruction to reason and then to answer: no full stop at its end."""
        return f"{instruction}{', ' if self.brevity else ''}{self.brevity}. {self.answer_format}"

    def write_answer(self, value: str) -> str:
        """A solution that holds nothing but the answer."""
        return f"{self.answer_prefix}{value}{self.answer_suffix}"


class Task(Protocol):
    """A benchmark."""

    @property
    def prompts(self) -> TaskPrompts:
        """The pieces of prompt that are its own."""
        ...

    def num_examples(self, split: Split) -> int | None:
        """Size of a split; None where it is unlimited."""
        ...

    def example(self, split: Split, index: int) -> Example:
        """The example at a position of a split's fixed order; positions past the end start over."""
        ...

    def extract_answer(self, solution: str) -> str | None:
        """The final answer in a solution's text, in a form where equal answers are equal strings; None without one.

        Solutions with equal answers should score alike: the vote and `execution.abort` take one for the other.
        """
        ...

    async def score(self, example: Example, solution: str) -> float:
        """Quality of a solution in [0, 1]. Must not block the event loop."""
        ...

    async def close(self) -> None:
        """End whatever scoring started."""
        ...
