"""The same greedy chats in process and through vLLM's own server: equal answers, and what the way there costs.

One engine at a time, started alike; both sides go through `start_engine`, admission included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, write_result
from bench.served_process import free_port, served, vllm_command
from bench.spread import spread
from bench.vllm_arguments import vllm_arguments
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import OpenAIEngineConfig, VllmEngineConfig
from lamas_local.engines import start_engine
from lamas_local.orchestrator.backend import base_model_name
from lamas_local.tasks import Task, load_task
from serving.admission import AdmittedEngine
from serving.models import resolve_model
from serving.types import Completion, EngineError, GenerationRequest, Message

NAME = "openai_parity"
IN_PROCESS, OVER_HTTP = "in process", "over HTTP"
CHOICES = ("A", "B", "C", "D", "E")
NUM_WARM_UP = 4
Passes = dict[int, list[Completion]]
"""The completions in the order of the requests, by how many were under way at once."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when an answer failed or differs."""
    parser = new_parser(f"python -m bench.{NAME}", "Greedy answers of the openai engine beside the in-process one's.")
    parser.add_argument("--num-queries", type=positive, default=50, help="free answers (%(default)s)")
    parser.add_argument("--num-choices", type=positive, default=10, help="choices by structured output (%(default)s)")
    parser.add_argument("--clients", type=positive, nargs="+", default=[1, 8], help="chats at once (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status.

    Raises:
        ConfigError: the engine is not vLLM's.
    """
    if not isinstance(config.engine, VllmEngineConfig):
        raise ConfigError(f"engine.kind is {config.engine.kind!r}; this benchmark compares two ways to vLLM")
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    task = load_task(config.task, config.seed)
    requests = make_requests(task, config, args.num_queries, args.num_choices)
    passes = {IN_PROCESS: asyncio.run(answer_all(config, requests, args.clients))}
    port, name = free_port(), base_model_name(config)
    # The in-process engine takes no sampling defaults from the model's folder.
    command = vllm_command(vllm_arguments(config.engine) | {"generation_config": "vllm"}, port, name)
    with served(command, port, "/health", folder / "vllm.log") as server:
        there = OpenAIEngineConfig(
            base_urls=(f"{server.url}/v1",), model=name, tokenizer=str(resolve_model(config.engine.model))
        )
        elsewhere = config.model_copy(update={"engine": there})
        passes[OVER_HTTP] = asyncio.run(answer_all(elsewhere, requests, args.clients))
    figures = {str(clients): compare(*(one[clients] for one in passes.values())) for clients in args.clients}
    raw = {side: {str(n): [asdict(one) for one in done] for n, done in own.items()} for side, own in passes.items()}
    path = write_result(folder, config, figures | {"vllm_command": command}, raw, load_before)
    columns = [f"{what}, {side}" for what in ("total", "first token") for side in passes]
    print_table(
        f"{len(requests)} greedy chats: seconds, median over the chats of one pass (smallest–largest)",
        ("chats at once", "same text", "same counts", *columns),
        (show(clients, figures[str(clients)]) for clients in args.clients),
        (f"result: {path}",),
    )
    return 0 if all(one["num_different"] == 0 for one in figures.values()) else RUN_FAILED


def make_requests(task: Task, config: Config, num_queries: int, num_choices: int) -> list[GenerationRequest]:
    """Problems of the test split to solve, and some more to choose a letter for."""

    def ask(index: int, instruction: str, choices: tuple[str, ...] | None = None) -> GenerationRequest:
        problem = task.example("test", index).query.problem
        messages = (Message("system", instruction), Message("user", problem))
        return GenerationRequest(f"query-{index}", messages, config.sampling.max_tokens, 0.0, choices=choices)

    free = [ask(index, "Solve the problem. End with the answer.") for index in range(num_queries)]
    letters = "Which letter is the right answer? A is 2, B is 4, C is 6, D is 8, E is another number."
    chosen = [ask(index, letters, CHOICES) for index in range(num_queries, num_queries + num_choices)]
    return free + chosen


async def answer_all(config: Config, requests: Sequence[GenerationRequest], clients: Sequence[int]) -> Passes:
    """Start the engine, warm it up, send all requests once for each number of clients, end the engine."""
    engine = await start_engine(config)
    try:
        await _pass(engine, [*requests[:NUM_WARM_UP], *requests[-NUM_WARM_UP:]], NUM_WARM_UP)
        return {number: await _pass(engine, requests, number) for number in clients}
    finally:
        await engine.close()


async def _pass(engine: AdmittedEngine, requests: Sequence[GenerationRequest], clients: int) -> list[Completion]:
    places = asyncio.Semaphore(clients)

    async def ask(request: GenerationRequest) -> Completion:
        async with places:
            return await engine.generate(request)

    asking = [asyncio.ensure_future(ask(request)) for request in requests]
    try:
        return await asyncio.gather(*asking)
    except EngineError:
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        raise


def compare(ours: Sequence[Completion], theirs: Sequence[Completion]) -> dict[str, Any]:
    """How many answers are the same, and where the seconds went on either side."""
    pairs = list(zip(ours, theirs, strict=True))

    def seconds(side: Sequence[Completion]) -> dict[str, Any]:
        return {
            "total_s": asdict(spread([one.timing.returned - one.timing.submitted for one in side])),
            "first_token_s": asdict(spread([one.timing.first_token - one.timing.submitted for one in side])),
            "after_last_token_s": median(one.timing.returned - one.timing.last_token for one in side),
        }

    return {
        "num_chats": len(pairs),
        "num_different": sum(a.text != b.text for a, b in pairs),
        "num_different_counts": sum(_counts(a) != _counts(b) for a, b in pairs),
        "different": [(index, a.text, b.text) for index, (a, b) in enumerate(pairs) if a.text != b.text],
        "output_tokens": sum(one.num_output_tokens for one in ours),
        IN_PROCESS: seconds(ours),
        OVER_HTTP: seconds(theirs),
    }


def _counts(one: Completion) -> tuple[int, int, str]:
    return one.num_prompt_tokens, one.num_output_tokens, one.finish_reason


def show(clients: int, figures: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    number = figures["num_chats"]
    return (
        str(clients),
        f"{number - figures['num_different']}/{number}",
        f"{number - figures['num_different_counts']}/{number}",
        *(_range(figures[side][what]) for what in ("total_s", "first_token_s") for side in (IN_PROCESS, OVER_HTTP)),
    )


def _range(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['min']:.2f}–{values['max']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
