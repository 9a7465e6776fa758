"""A task that remembers the examples it gave: the stand-in for the model has to know what is right."""

from __future__ import annotations

from lamas_local.simulation.difficulty import difficulty
from lamas_local.tasks.base import Example, Split, Task, TaskPrompts


class RememberingTask:
    """Wraps a task. What it remembers reaches the stand-in only, never an operator."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._examples: dict[str, Example] = {}

    @property
    def prompts(self) -> TaskPrompts:
        """The wrapped task's."""
        return self._task.prompts

    def num_examples(self, split: Split) -> int | None:
        """The wrapped task's."""
        return self._task.num_examples(split)

    def example(self, split: Split, index: int) -> Example:
        """The wrapped task's; remembered."""
        example = self._task.example(split, index)
        self._examples[example.query.id] = example
        return example

    def extract_answer(self, solution: str) -> str | None:
        """As the wrapped task does."""
        return self._task.extract_answer(solution)

    async def score(self, example: Example, solution: str) -> float:
        """As the wrapped task does."""
        return await self._task.score(example, solution)

    async def close(self) -> None:
        """End what the wrapped task started."""
        await self._task.close()

    def remembered(self, query_id: str) -> Example:
        """The example with a query of that id; it must have been given."""
        return self._examples[query_id]

    def right_answer(self, example: Example) -> str:
        """The gold answer as `extract_answer` reads it."""
        return self.extract_answer(self.prompts.write_answer(example.gold)) or example.gold

    def difficulty(self, example: Example) -> int:
        """See `difficulty`."""
        return difficulty(self._task, example.query)
