"""Latency budgets: how many queries are answered within theirs, and what that costs in score.

Queries without a budget give the latencies; budgets are spread evenly from the 10th to the 90th percentile of them, in
shuffled order, and given to as many other queries.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from bench.chat_load import Block, Reply, chat_bodies, run_block
from bench.command import positive, run_command
from bench.result import open_folder, print_table, write_result
from bench.run_command import check_run, new_run_parser, overrides_of
from bench.served_process import free_port, our_command, served
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.sandbox import Sandbox
from lamas_local.tasks import Task, load_task

NAME = "serve_budget"
TARGET_SHARE, TOLERANCE = 0.95, 1.05
WARM_UP = 8


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a query had no answer, whether the target is met or not."""
    parser = new_run_parser(f"python -m bench.{NAME}", "Latency budgets on a served run.")
    parser.add_argument("--num-queries", type=positive, default=100, help="with and without budget (%(default)s)")
    parser.add_argument("--clients", type=positive, default=1, help="queries at once (%(default)s)")
    return run_command(parser, lambda args, config: run(args, config, overrides_of(argv, parser)), argv)


def run(args: argparse.Namespace, config: Config, overrides: Sequence[str]) -> int:
    """Measure, write, print; returns the exit status."""
    folder, run_folder = open_folder(args.output, NAME), check_run(args)
    load_before = os.getloadavg()
    port = free_port()
    task = load_task(config.task, config.seed, Sandbox(config.sandbox) if config.task.kind == "humaneval" else None)
    with served(our_command(run_folder, port, overrides), port, "/ready", folder / "server.log") as server:
        free, budgeted, budgets = asyncio.run(measure(server.url, task, config, args.num_queries, args.clients))
    figures = asyncio.run(summarise(free, budgeted, budgets, task))
    raw = {
        "free_s": [reply.seconds for reply in free.replies],
        "budget_s": budgets,
        "seconds": [reply.seconds for reply in budgeted.replies],
        "lamas": [reply.body.get("lamas") for reply in budgeted.replies],
    }
    path = write_result(folder, config, figures, raw, load_before)
    rows = [(name, str(value if not isinstance(value, float) else round(value, 3))) for name, value in figures.items()]
    print_table(f"{args.num_queries} queries with a budget, {args.clients} at once", ("figure", "value"), rows)
    print(f"result: {path}")
    return 0 if figures["num_without_answer"] == 0 else RUN_FAILED


async def measure(
    url: str, task: Task, config: Config, num_queries: int, num_clients: int
) -> tuple[Block, Block, list[float]]:
    """Replies without budgets, replies with, and the budgets."""
    await run_block(url, chat_bodies(task, config, "lamas", 0, WARM_UP), num_clients)
    free = await run_block(url, chat_bodies(task, config, "lamas", WARM_UP, num_queries), num_clients)
    budgets = spread_budgets([reply.seconds for reply in free.replies], num_queries, config.seed)
    bodies = chat_bodies(task, config, "lamas", WARM_UP + num_queries, num_queries)
    timed = [body | {"latency_budget_s": budget_s} for body, budget_s in zip(bodies, budgets, strict=True)]
    return free, await run_block(url, timed, num_clients), budgets


def spread_budgets(latencies_s: Sequence[float], number: int, seed: int) -> list[float]:
    """The percentiles 10 to 90 of some latencies, evenly spread, shuffled."""
    budgets = [float(value) for value in np.percentile(latencies_s, np.linspace(10, 90, number))]
    random.Random(seed).shuffle(budgets)
    return budgets


async def summarise(free: Block, budgeted: Block, budgets: Sequence[float], task: Task) -> dict[str, Any]:
    """What the benchmark is about; seconds are the client's."""
    pairs = list(zip(budgeted.replies, budgets, strict=True))
    share = fmean(reply.seconds <= TOLERANCE * budget_s for reply, budget_s in pairs)
    num_without = sum(not (reply.text or "").strip() for reply in budgeted.replies)
    first = WARM_UP
    return {
        "target_share": TARGET_SHARE,
        "share_within_budget_and_5_percent": share,
        "share_within_budget": fmean(reply.seconds <= budget_s for reply, budget_s in pairs),
        "share_reported_met": fmean(bool((reply.body.get("lamas") or {}).get("budget_met")) for reply, _ in pairs),
        "num_without_answer": num_without,
        "worst_overrun_s": max(reply.seconds - budget_s for reply, budget_s in pairs),
        "mean_share_of_budget_used": fmean(reply.seconds / budget_s for reply, budget_s in pairs),
        "free_p10_s": float(np.percentile([reply.seconds for reply in free.replies], 10)),
        "free_p50_s": float(np.percentile([reply.seconds for reply in free.replies], 50)),
        "free_p90_s": float(np.percentile([reply.seconds for reply in free.replies], 90)),
        "free_score": await mean_score(free.replies, first, task),
        "budgeted_score": await mean_score(budgeted.replies, first + len(free.replies), task),
        "is_target_met": share >= TARGET_SHARE and num_without == 0,
    }


async def mean_score(replies: Sequence[Reply], first: int, task: Task) -> float:
    """The task's mean score of replies to its test queries from `first` on."""
    scores = [
        0.0 if reply.text is None else await task.score(task.example("test", first + index), reply.text)
        for index, reply in enumerate(replies)
    ]
    return fmean(scores)


if __name__ == "__main__":
    sys.exit(main())
