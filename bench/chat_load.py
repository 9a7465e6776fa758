"""Chats sent over HTTP by so many clients, each with its next one as soon as the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from lamas_local.config import Config
from lamas_local.tasks.base import Task

TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered chat, as its client saw it."""

    seconds: float
    status: int
    text: str | None
    """The answer; None where there was none."""
    output_tokens: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """Replies in the order of the chats, and how long all of them took."""

    seconds: float
    replies: tuple[Reply, ...]

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second."""
        return sum(reply.output_tokens for reply in self.replies) / self.seconds


def chat_bodies(task: Task, config: Config, model: str, first: int, number: int, **fields: Any) -> list[dict[str, Any]]:
    """Requests that ask the task's test queries from position `first` on, with the run's sampling."""
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": task.example("test", index).query.problem}],
            "temperature": config.sampling.temperature,
            "top_p": config.sampling.top_p,
            "max_tokens": config.sampling.max_tokens,
            "seed": index,
            **fields,
        }
        for index in range(first, first + number)
    ]


async def ask(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Reply:
    """One chat, not streamed."""
    started = time.monotonic()
    response = await client.post("/v1/chat/completions", json=body)
    seconds = time.monotonic() - started
    content = response.json()
    if response.status_code != 200:
        return Reply(seconds, response.status_code, None, 0, content)
    text = content["choices"][0]["message"]["content"]
    return Reply(seconds, 200, text, int(content["usage"]["completion_tokens"]), content)


async def run_block(url: str, bodies: Sequence[Mapping[str, Any]], num_clients: int) -> Block:
    """Send all of them, `num_clients` at a time."""
    replies: dict[int, Reply] = {}
    waiting = iter(enumerate(bodies))

    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:

        async def work() -> None:
            for index, body in waiting:
                replies[index] = await ask(client, body)

        started = time.monotonic()
        await asyncio.gather(*(work() for _ in range(num_clients)))
        seconds = time.monotonic() - started
    return Block(seconds, tuple(replies[index] for index in range(len(bodies))))
