"""A task that knows its examples by their ids, for a stand-in that has only heard of the requests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.tasks.base import Example, Split, Task

SPLITS: tuple[Split, ...] = ("train", "test")


class FindingTask(RememberingTask):
    """Goes through both splits, in their order, as far as it must: queries come in about that order."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._next = self._positions()

    def remembered(self, query_id: str) -> Example:
        """The example with a query of that id; one of the task's, or the search has no end."""
        while query_id not in self._examples:
            split, index = next(self._next)
            self.example(split, index)
        return super().remembered(query_id)

    def _positions(self) -> Iterator[tuple[Split, int]]:
        sizes = {split: self.num_examples(split) for split in SPLITS}
        for index in itertools.count():
            open_splits = [split for split in SPLITS if (size := sizes[split]) is None or index < size]
            if not open_splits:
                return
            yield from ((split, index) for split in open_splits)
