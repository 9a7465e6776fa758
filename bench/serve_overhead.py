"""What our server costs over vLLM's own: the same chats to the base model through both, in turns."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.chat_load import Block, chat_bodies, run_block
from bench.command import positive, run_command
from bench.result import open_folder, print_table, write_result
from bench.run_command import check_run, new_run_parser, overrides_of
from bench.served_process import free_port, our_command, served, vllm_command
from bench.spread import paired_ratio
from bench.vllm_arguments import vllm_arguments
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import VllmEngineConfig
from lamas_local.orchestrator.backend import base_model_name
from lamas_local.tasks import Task, load_task

NAME = "serve_overhead"
MOST_LATENCY, LEAST_THROUGHPUT = 1.05, 0.95
WARM_UP = 4
OURS, THEIRS = "lamas-local serve", "vllm"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a chat failed, whether the targets are met or not."""
    parser = new_run_parser(f"python -m bench.{NAME}", "Our server beside vLLM's own, on the base model.")
    parser.add_argument("--num-chats", type=positive, default=48, help="in each block (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="blocks of each server (%(default)s)")
    parser.add_argument("--clients", type=positive, nargs="+", default=[1, 16], help="chats at once (%(default)s)")
    return run_command(parser, lambda args, config: run(args, config, overrides_of(argv, parser)), argv)


def run(args: argparse.Namespace, config: Config, overrides: Sequence[str]) -> int:
    """Measure, write, print; returns the exit status.

    Raises:
        ConfigError: the engine is not vLLM's.
    """
    if not isinstance(config.engine, VllmEngineConfig):
        raise ConfigError(f"engine.kind is {config.engine.kind!r}; only 'vllm' has a server to be compared with")
    folder, run_folder = open_folder(args.output, NAME), check_run(args)
    load_before = os.getloadavg()
    task, name = load_task(config.task, config.seed), base_model_name(config)
    ours, theirs = free_port(), free_port()
    vllm = vllm_command(vllm_arguments(config.engine), theirs, name)
    flags = [*overrides, "--max-in-flight", str(max(args.clients))]
    # Both run all the time: an idle engine waits for a message and takes no processor time.
    with (
        served(our_command(run_folder, ours, flags), ours, "/ready", folder / "ours.log") as one,
        served(vllm, theirs, "/health", folder / "vllm.log") as other,
    ):
        urls = {OURS: one.url, THEIRS: other.url}
        blocks = asyncio.run(measure(urls, task, config, name, args.clients, args.num_chats, args.repeats))
    figures: dict[str, Any] = {str(clients): compare(found) for clients, found in blocks.items()}
    num_failed = sum(
        reply.status != 200
        for found in blocks.values()
        for own in found.values()
        for block in own
        for reply in block.replies
    )
    figures["is_target_met"] = num_failed == 0 and all(figures[str(clients)]["is_met"] for clients in blocks)
    raw = {
        str(clients): {
            server: [
                {"seconds": block.seconds, "latencies_s": [reply.seconds for reply in block.replies]} for block in own
            ]
            for server, own in found.items()
        }
        for clients, found in blocks.items()
    }
    path = write_result(folder, config, figures | {"num_failed": num_failed, "vllm_command": vllm}, raw, load_before)
    rows = [show(clients, figures[str(clients)]) for clients in blocks]
    columns = (
        "at once",
        "ours, median s",
        "vllm, median s",
        "latency ratio",
        "ours, tokens/s",
        "vllm",
        "ratio",
        "target",
    )
    print_table(f"{args.num_chats} chats × {args.repeats}, servers in turns", columns, rows)
    print(f"result: {path}")
    return 0 if num_failed == 0 else RUN_FAILED


Blocks = dict[str, list[Block]]


async def measure(
    urls: dict[str, str], task: Task, config: Config, model: str, clients: Sequence[int], num_chats: int, repeats: int
) -> dict[int, Blocks]:
    """By concurrency, the blocks of each server; both get the same chats, and who goes first changes."""
    for url in urls.values():
        await run_block(url, chat_bodies(task, config, model, 0, WARM_UP), WARM_UP)
    found: dict[int, Blocks] = {}
    first = WARM_UP
    for number in clients:
        found[number] = {server: [] for server in urls}
        for repeat in range(repeats):
            bodies = chat_bodies(task, config, model, first, num_chats)
            first += num_chats  # chats are new in each repeat: the second time a prompt is in the prefix cache
            for server in list(urls)[:: 1 if repeat % 2 == 0 else -1]:
                found[number][server].append(await run_block(urls[server], bodies, number))
    return found


def compare(blocks: Blocks) -> dict[str, Any]:
    """Ours beside theirs: ratios of paired blocks, and of medians over all chats."""

    def latencies(server: str) -> list[float]:
        return [reply.seconds for block in blocks[server] for reply in block.replies]

    def speeds(server: str) -> list[float]:
        return [block.tokens_per_s for block in blocks[server]]

    latency = median(latencies(OURS)) / median(latencies(THEIRS))
    throughput = median(speeds(OURS)) / median(speeds(THEIRS))
    pairs = [
        median(reply.seconds for reply in one.replies) / median(reply.seconds for reply in other.replies)
        for one, other in zip(blocks[OURS], blocks[THEIRS], strict=True)
    ]
    return {
        "latency_s": {server: median(latencies(server)) for server in blocks},
        "latency_ratio": latency,
        "latency_ratio_by_repeat": asdict(paired_ratio(pairs)),
        "tokens_per_s": {server: median(speeds(server)) for server in blocks},
        "throughput_ratio": throughput,
        "output_tokens": {
            server: sum(reply.output_tokens for block in own for reply in block.replies)
            for server, own in blocks.items()
        },
        "is_met": latency <= MOST_LATENCY and throughput >= LEAST_THROUGHPUT,
    }


def show(clients: int, figures: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    latency, speed = figures["latency_s"], figures["tokens_per_s"]
    return (
        str(clients),
        f"{latency[OURS]:.3f}",
        f"{latency[THEIRS]:.3f}",
        f"{figures['latency_ratio']:.3f}",
        f"{speed[OURS]:.1f}",
        f"{speed[THEIRS]:.1f}",
        f"{figures['throughput_ratio']:.3f}",
        "met" if figures["is_met"] else "missed",
    )


if __name__ == "__main__":
    sys.exit(main())
