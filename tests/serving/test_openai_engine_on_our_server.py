"""Our own client against our own server, over real sockets: what the engine behind it says is what comes out."""

from __future__ import annotations

import asyncio

import pytest

from serving.openai_engine import OpenAIEngine
from tests.serving.conftest import RequestFactory
from tests.serving.http.running import CountingEngine, EngineBackend, running

KEY = "a-key-of-this-test"


async def test_answers_are_the_engines_own(make_request: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    behind = CountingEngine(token_s=0.001)
    requests = [make_request(f"What is 3 plus {number}?", seed=number) for number in range(16)]
    with running(EngineBackend(behind), api_keys=(KEY,)) as server:
        engine = await OpenAIEngine.start([f"{server.url}/v1"], "base", api_key_env="TEST_KEY", max_model_len=2048)
        try:
            completions = await asyncio.gather(*(engine.generate(request) for request in requests))
        finally:
            await engine.close()
    direct = CountingEngine()
    for request, completion in zip(requests, completions, strict=True):
        same = await direct.generate(request)
        assert (completion.text, completion.finish_reason) == (same.text, same.finish_reason)
        assert (completion.num_prompt_tokens, completion.num_output_tokens) == (
            same.num_prompt_tokens,
            same.num_output_tokens,
        )
