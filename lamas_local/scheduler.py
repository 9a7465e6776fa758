"""Starts each operator of an architecture when what it reads exists, and stops those that no longer matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from lamas_local.dataflow import Node, Results, inputs, nodes
from lamas_local.operators.base import Update
from lamas_local.trace import Reads


async def run_dataflow(
    reads: Sequence[Sequence[Reads]],
    start: Callable[[Node, tuple[str, ...]], Coroutine[Any, Any, Update]],
    is_over: Callable[[Results], bool],
) -> Results:
    """Run operators until all have ended or what has ended is enough.

    Args:
        reads: what each operator declares, by layer and position.
        start: runs an operator on the solutions it reads; what it raises ends the whole.
        is_over: asked after each end whether the results so far are enough. Whatever else may end a rollout early, such
            as a deadline, cancels the task that runs this: nothing is left running then either.

    Returns:
        The results of those that ended. All others were cancelled (and have gone when this returns) or never started.
    """
    results: dict[Node, Update] = {}
    waiting = nodes(reads)
    running: dict[asyncio.Task[Update], Node] = {}
    try:
        while waiting or running:
            for node in tuple(waiting):
                if (found := inputs(reads, node, results)) is not None:
                    waiting.remove(node)
                    running[asyncio.create_task(start(node, found.solutions))] = node
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                results[running[task]] = task.result()
                del running[task]
            if is_over(results):
                break
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return results
