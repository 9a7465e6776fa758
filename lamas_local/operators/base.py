"""What an operator is: what it reads, how the controller sees it, and what it does to the solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lamas_local.prompt import Prompt
from lamas_local.sandbox import SandboxResult
from lamas_local.tasks.base import TaskPrompts
from lamas_local.trace import Failure
from lamas_local.trace import Reads as Reads

EARLY_STOP = "EarlyStop"


@dataclass(frozen=True, slots=True)
class Update:
    """What one operator does to the solutions so far."""

    added: tuple[str, ...]
    num_replaced: int = 0
    """How many of the solutions it read, from the newest back, the added ones stand for; it cannot be more, so that
    nothing is replaced unread."""


def merge(solutions: tuple[str, ...], updates: Sequence[Update]) -> tuple[str, ...]:
    """The solutions after operators that all read `solutions`: what nobody replaced, then what they added, in order."""
    num_replaced = max((update.num_replaced for update in updates), default=0)
    return solutions[: max(len(solutions) - num_replaced, 0)] + tuple(
        text for update in updates for text in update.added
    )


class OperatorError(Exception):
    """An operator has no result, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class OperatorCall(Protocol):
    """What an operator can see and do while it runs: never the gold answer, never the hidden tests."""

    @property
    def problem(self) -> str:
        """The query's text."""
        ...

    @property
    def entry_point(self) -> str | None:
        """The function that is to be written, where the answer is code."""
        ...

    @property
    def solutions(self) -> tuple[str, ...]:
        """What it declares to read: all solutions so far, the current one last, or only the current one, or none."""
        ...

    @property
    def prompts(self) -> TaskPrompts:
        """The task's own pieces of prompt."""
        ...

    def extract_answer(self, solution: str) -> str | None:
        """The task's reading of a solution: its final answer, or its code; None without one."""
        ...

    async def ask(
        self, prompt: Prompt, num_samples: int = 1, choices: tuple[str, ...] | None = None, stop: tuple[str, ...] = ()
    ) -> list[str]:
        """Ask the model; the samples run at the same time. Samples that fail are left out.

        Raises:
            OperatorError: no sample succeeded.
        """
        ...

    async def ask_together(self, prompts: Sequence[Prompt], stop: tuple[str, ...] = ()) -> list[str]:
        """Ask several prompts once each, at the same time: one step. Those that fail are left out.

        Raises:
            OperatorError: none succeeded.
        """
        ...

    async def run_python(self, code: str, function: str | None = None) -> SandboxResult:
        """Run a program in the sandbox; with `function`, then call that function without arguments for its value.

        Raises:
            OperatorError: the sandbox itself failed; a program that fails is a result.
        """
        ...

    async def check_python(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        """Run `tests`, source of our own that calls `entry_point`, against `code` in the sandbox.

        Raises:
            OperatorError: as `run_python`.
        """
        ...


class Operator(Protocol):
    """One agent step.

    One that calls `run_python` or `check_python` has an attribute `needs_sandbox = True` besides. One that never adds
    more than n solutions may have `max_added = n`: only then can a vote be known to be decided while it still runs.
    """

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


def visible(reads: Reads, solutions: tuple[str, ...]) -> tuple[str, ...]:
    """What an operator gets to see of the solutions so far."""
    if reads == "problem":
        return ()
    return solutions if reads == "solutions" else solutions[-1:]


def needs_solution(operator: Operator) -> bool:
    """Whether it can only run where a solution exists, so not in layer 1."""
    return operator.reads in ("solution", "solutions")


def needs_sandbox(operator: Operator) -> bool:
    """Whether it runs code."""
    return bool(getattr(operator, "needs_sandbox", False))


def max_added(operator: Operator) -> int | None:
    """Most solutions it adds; None where it does not say."""
    number: int | None = getattr(operator, "max_added", None)
    return number
