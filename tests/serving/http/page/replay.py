"""A server that plays back one query as the API tells it: for what a real one hardly does on purpose."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serving.http import page

Json = dict[str, Any]
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>{\'braces\'} & "quotes"'


def request_span(queue_s: float, prefill_s: float, decode_s: float, output_tokens: int) -> Json:
    """A finished request as the API gives it."""
    return {
        "kind": "request",
        "status": "ok",
        "queue_s": queue_s,
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "seconds": queue_s + prefill_s + decode_s,
        "prompt_tokens": 61,
        "cached_tokens": 32,
        "output_tokens": output_tokens,
    }


def operator(
    name: str, started_s: float, steps: list[list[Json]], *, clock: bool = False, tokens: bool = False
) -> Json:
    """An operator of a rollout that ends with its last step."""
    return {
        "name": name,
        "started_s": started_s,
        "ended_s": started_s + sum(max(span["seconds"] for span in step) for step in steps),
        "status": "ok",
        "is_critical_by_tokens": tokens,
        "is_critical_by_seconds": clock,
        "steps": steps,
    }


def example_rollout() -> Json:
    """Two layers and a finaliser; the clock's longest operator of the first layer runs code, the tokens' does not."""
    samples = [request_span(0.02, 0.05, seconds, 30) for seconds in (0.31, 0.36, 0.28)]
    code = [
        [request_span(0.02, 0.06, 0.22, 24)],
        [{"kind": "tool", "name": "python", "seconds": 0.31, "status": "ok"}],
    ]
    first = [
        operator("Generate", 0.01, [[request_span(0.02, 0.04, 0.24, 22)]]),
        operator("MultiGenerateCoT", 0.01, [samples], tokens=True),
        operator("Programmer", 0.01, code, clock=True),
    ]
    second = [operator("ScEnsemble", 0.64, [[request_span(0.01, 0.09, 0.03, 1)]], clock=True, tokens=True)]
    last = [operator("SelfRefine", 0.79, [[request_span(0.01, 0.05, 0.15, 18)]], clock=True, tokens=True)]
    return {
        "architecture": [["Generate", "MultiGenerateCoT", "Programmer"], ["ScEnsemble"]],
        "execution_mode": "layered",
        "layers": [{"operators": first}, {"operators": second}],
        "finaliser": {"operators": last},
        "critical_path": {"tokens": 49.0, "seconds": 0.98},
        "proxy_s": 0.98,
        "predicted_s": 0.91,
        "measured_s": 1.004,
        "waited_s": 0.002,
        "latency_budget_s": None,
        "budget_met": None,
        "num_aborted_requests": 0,
        "request_id": "req-42",
    }


@dataclass
class Replay:
    """What the server does next, and what it was asked."""

    rollout: Json = field(default_factory=example_rollout)
    answer: str = "There are 12 apples.\nAnswer: 12"
    key: str | None = None
    refusal: tuple[int, dict[str, str], str] | None = None
    """Status, headers and message of every chat until it is None again."""
    speed: float = 20.0
    """Seconds of the rollout that pass in one second; 1 to look at what happens while operators run."""
    breaks_after: int | None = None
    """Chunks after which the connection ends."""
    asked: list[Json] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    """A client went away before the end."""

    def app(self) -> FastAPI:
        """The server: the page, and as much of the API as it uses."""
        app = FastAPI()
        app.include_router(page.router)
        app.get("/ready")(lambda: {"ready": True})
        app.get("/v1/models")(self._models)
        app.post("/v1/chat/completions")(self._chat)
        return app

    async def _models(self, request: Request) -> Response:
        return self._locked(request) or JSONResponse({"data": [{"id": "lamas"}, {"id": "smollm2-135m-instruct"}]})

    async def _chat(self, request: Request) -> Response:
        if locked := self._locked(request):
            return locked
        if self.refusal is not None:
            status, headers, message = self.refusal
            return JSONResponse({"error": {"message": message}}, status, headers)
        body = await request.json()
        self.asked.append(body)
        chunks = self._team(body) if body["model"] == "lamas" else self._base()
        return StreamingResponse(self._sent(chunks), media_type="text/event-stream")

    def _locked(self, request: Request) -> Response | None:
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        return JSONResponse({"error": {"message": "a key is needed", "code": "invalid_api_key"}}, 401)

    async def _sent(self, chunks: AsyncIterator[Json]) -> AsyncIterator[str]:
        count = 0
        try:
            async for chunk in chunks:
                if count == self.breaks_after:
                    return
                count += 1
                yield f"data: {json.dumps(chunk)}\n\n"
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.gone.set()
            raise

    async def _team(self, body: Json) -> AsyncIterator[Json]:
        rollout = {**self.rollout, "latency_budget_s": body.get("latency_budget_s")}
        if body.get("latency_budget_s"):
            rollout["budget_met"] = rollout["measured_s"] <= body["latency_budget_s"]
        clock = asyncio.get_running_loop().time
        admitted = clock()
        known = {key: rollout[key] for key in ("execution_mode", "predicted_s", "latency_budget_s")}
        yield _chunk(event="architecture", layers=rollout["architecture"], **known)
        for at_s, event in events_of(rollout):
            await asyncio.sleep(max(0.0, admitted + at_s / self.speed - clock()))
            yield _chunk(**event)
        await asyncio.sleep(max(0.0, admitted + rollout["measured_s"] / self.speed - clock()))
        for line in self.answer.splitlines(keepends=True):
            yield {"choices": [{"index": 0, "delta": {"content": line}, "finish_reason": None}]}
        yield _chunk(event="finished", rollout=rollout)
        yield {"choices": [], "usage": {"prompt_tokens": 366, "completion_tokens": 155, "total_tokens": 521}}

    async def _base(self) -> AsyncIterator[Json]:
        for word in ("There ", "are ", "14 ", "apples."):
            await asyncio.sleep(0.2 / self.speed)
            yield {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        yield {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 4, "total_tokens": 44}}


def events_of(rollout: Json) -> list[tuple[float, Json]]:
    """When each operator's start and end is told, in that order."""
    stages = [layer["operators"] for layer in (*rollout["layers"], rollout["finaliser"])]
    told: list[tuple[float, Json]] = []
    for layer, operators in enumerate(stages):
        for position, one in enumerate(operators):
            where = {"layer": layer, "position": position, "name": one["name"]}
            tokens = sum(span.get("output_tokens", 0) for step in one["steps"] for span in step)
            told.append((one["started_s"], {"event": "operator_started", **where, "at_s": one["started_s"]}))
            ended = {"at_s": one["ended_s"], "output_tokens": tokens, "status": one["status"]}
            told.append((one["ended_s"], {"event": "operator_ended", **where, **ended}))
    return sorted(told, key=lambda pair: pair[0])


def _chunk(**event: Any) -> Json:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": None}], "lamas": event}


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """The app on a free port of this machine, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
