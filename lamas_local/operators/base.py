"""What an operator is: what it reads, how the controller sees it, and what it does to the solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from lamas_local.prompt import Prompt
from lamas_local.trace import Failure

Reads = Literal["problem", "solution", "solutions"]
EARLY_STOP = "EarlyStop"


@dataclass(frozen=True, slots=True)
class Update:
    """What one operator does to the solutions so far."""

    added: tuple[str, ...]
    num_replaced: int = 0
    """How many of the solutions it read, from the first on, the added ones stand for."""

    def apply(self, solutions: tuple[str, ...]) -> tuple[str, ...]:
        """The solutions afterwards. In a layer only the end grows, so what was read still stands first."""
        return solutions[self.num_replaced :] + self.added


class OperatorError(Exception):
    """An operator has no result, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class OperatorCall(Protocol):
    """What an operator can see and do while it runs."""

    @property
    def problem(self) -> str:
        """The query's text."""
        ...

    @property
    def solutions(self) -> tuple[str, ...]:
        """All solutions so far, the current one last; empty for an operator that reads only the problem."""
        ...

    @property
    def answer_format(self) -> str:
        """The task's sentence on how to write the final answer."""
        ...

    async def ask(
        self, prompt: Prompt, num_samples: int = 1, choices: tuple[str, ...] | None = None, stop: tuple[str, ...] = ()
    ) -> list[str]:
        """Ask the model; the samples run at the same time. Samples that fail are left out.

        Raises:
            OperatorError: no sample succeeded.
        """
        ...


class Operator(Protocol):
    """One agent step."""

    name: str
    description: str
    """One sentence; the controller embeds it."""
    reads: Reads

    async def run(self, call: OperatorCall) -> Update:
        """Do the step.

        Raises:
            OperatorError: it has no result.
        """
        ...
