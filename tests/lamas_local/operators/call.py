"""An operator's view of the world, played from a script."""

from __future__ import annotations

from collections.abc import Sequence

from lamas_local.prompt import Prompt
from lamas_local.sandbox import SandboxResult
from lamas_local.tasks import TaskPrompts
from tests.lamas_local.builders import FakeSandbox

HOSTILE = r"Is \boxed{-2} {0} {name} %s {{x}} right?"


class Call:
    """Answers from a list, as many at a time as samples are asked for; runs what it is told to have run."""

    def __init__(
        self,
        *answers: str,
        solutions: tuple[str, ...] = (),
        problem: str = HOSTILE,
        entry_point: str | None = None,
        prompts: TaskPrompts | None = None,
        runs: tuple[SandboxResult, ...] = (),
    ) -> None:
        self.answers, self.solutions, self.problem = list(answers), solutions, problem
        self.entry_point = entry_point
        self.prompts = prompts or TaskPrompts("End with 'Answer:' {0}.")
        self.asked: list[tuple[Prompt, int, tuple[str, ...] | None]] = []
        self.stops: list[tuple[str, ...]] = []
        self.sandbox = FakeSandbox(*runs)

    def extract_answer(self, solution: str) -> str | None:
        return None if "no code" in solution else f"code of {solution}"

    async def ask(
        self, prompt: Prompt, num_samples: int = 1, choices: tuple[str, ...] | None = None, stop: tuple[str, ...] = ()
    ) -> list[str]:
        self.asked.append((prompt, num_samples, choices))
        self.stops.append(stop)
        taken, self.answers = self.answers[:num_samples], self.answers[num_samples:]
        return taken

    async def ask_together(self, prompts: Sequence[Prompt], stop: tuple[str, ...] = ()) -> list[str]:
        return [text for prompt in prompts for text in await self.ask(prompt, stop=stop)]

    async def run_python(self, code: str, function: str | None = None) -> SandboxResult:
        return await self.sandbox.run(code, function)

    async def check_python(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        return await self.sandbox.check(code, entry_point, tests)
