"""Every fault ends in an answer or an error that says where and why, within its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from serving.admission import AdmittedEngine
from serving.endpoint import EndpointError
from serving.openai_engine import OpenAIEngine
from serving.types import (
    Completion,
    EngineDeadError,
    EngineError,
    EngineStartError,
    RequestRefusedError,
    RequestTimeoutError,
    StreamingEngine,
)
from tests.serving import faulty_server as fault
from tests.serving.conftest import RequestFactory
from tests.serving.faulty_server import ANSWER, FaultyServer, Reply, closed_port, faulty_server

KEY = "sk-never-to-be-seen"
SILENCE_S, DEADLINE_S = 0.3, 5.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.endpoint.FIRST_WAIT_S", 0.02)
    monkeypatch.setenv("TEST_KEY", KEY)


@asynccontextmanager
async def engine_at(*servers: FaultyServer | str, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    urls = [one if isinstance(one, str) else one.url for one in servers]
    given: dict[str, Any] = {"silence_s": SILENCE_S, "patience_s": DEADLINE_S, "api_key_env": "TEST_KEY"} | settings
    engine = await OpenAIEngine.start(urls, fault.MODEL, **given)
    try:
        yield engine
    finally:
        await engine.close()


async def test_an_answer_has_its_counts_and_the_callers_stamps(make_request: RequestFactory) -> None:
    async with faulty_server(fault.answers(pause_s=0.03)) as server, engine_at(server) as engine:
        assert isinstance(engine, StreamingEngine)
        assert engine.max_model_len == 512
        completion = await engine.generate(make_request(seed=5))
        assert engine.num_unfinished == 0
    assert (completion.text, completion.finish_reason) == (ANSWER, "stop")
    assert (completion.num_prompt_tokens, completion.num_cached_tokens, completion.num_output_tokens) == (7, 2, 3)
    stamps = completion.timing
    assert stamps.is_client_side
    assert stamps.submitted <= stamps.queued == stamps.scheduled < stamps.first_token < stamps.last_token
    assert stamps.last_token <= stamps.returned
    assert stamps.first_token - stamps.scheduled >= 0.03  # the empty piece before the first text is no token
    assert stamps.last_token - stamps.first_token >= 0.08
    [body] = server.bodies
    assert body["messages"][1] == {"role": "user", "content": "What is 3 plus 4?"}
    assert (body["model"], body["seed"], body["max_tokens"], body["temperature"]) == (fault.MODEL, 5, 16, 0.7)
    assert body["stream_options"] == {"include_usage": True}
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


async def test_a_connection_is_used_again(make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server) as engine:
        for _ in range(5):
            await engine.generate(make_request())
        assert server.num_connections == 1


async def test_pieces_come_as_they_are_made(make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server) as engine:
        pieces = [piece async for piece in engine.stream(make_request())]
    assert pieces[:-1] == list(fault.PIECES)
    assert isinstance(pieces[-1], Completion)
    assert pieces[-1].text == ANSWER


PASSING: dict[str, Reply] = {
    "429": fault.status(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}),
    "500": fault.status(500),
    "503": fault.status(503, b""),
    "hang": fault.hangs,
    "no byte after the first piece": fault.streamed(fault.delta("Four"), is_complete=False),
    "truncated stream": fault.streamed(fault.delta("Four")),
    "cut chunk": fault.raw(fault.STREAM, b"ff\r\ndata: {"),
    "no usage yet": fault.streamed(fault.delta("Four"), fault.delta("", "stop")),
    "closed connection": fault.raw(),
    "half a head": fault.raw(b"HTTP/1.1 200 OK\r\nContent-"),
    "not HTTP": fault.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "wrong content type": fault.status(200, b"<html>welcome</html>"),
    "not JSON": fault.streamed(b"{half"),
    "JSON of something else": fault.streamed({"choices": "none"}),
    "error in the stream": fault.streamed(fault.delta("Fo"), {"error": {"message": "engine died", "code": 500}}),
    "endless line": fault.streamed(b"x" * 400_000),
}


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING.keys())
async def test_what_may_pass_is_tried_again(reply: Reply, make_request: RequestFactory) -> None:
    async with faulty_server(reply, reply) as server, engine_at(server) as engine:
        assert (await engine.generate(make_request())).text == ANSWER
        assert len(server.bodies) == 3


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING.keys())
async def test_what_does_not_pass_ends_with_where_and_why(reply: Reply, make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server, max_retries=2) as engine:
        server.default = reply
        with pytest.raises(EndpointError) as caught:
            await engine.generate(make_request())
        assert len(server.bodies) == 3
    assert server.url in str(caught.value)
    assert "attempt 3 of 3" in str(caught.value)


async def test_slow_bytes_end_at_the_deadline(make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server) as engine:
        server.default = fault.drips
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match="deadline"):
            await AdmittedEngine(engine, deadline_s=0.5).generate(make_request())
        assert time.monotonic() - started < DEADLINE_S
        await asyncio.sleep(0.1)
        assert server.num_open == 0
        assert engine.num_unfinished == 0


async def test_a_cancelled_request_closes_its_connection(make_request: RequestFactory) -> None:
    async with faulty_server(fault.hangs) as server, engine_at(server, silence_s=60.0) as engine:
        asking = asyncio.ensure_future(engine.generate(make_request()))
        await asyncio.sleep(0.1)
        assert (len(server.bodies), engine.num_unfinished) == (1, 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0.1)
        assert (server.num_open, engine.num_unfinished) == (0, 0)


async def test_a_closed_stream_closes_its_connection(make_request: RequestFactory) -> None:
    async with faulty_server(fault.answers(*["word"] * 100, pause_s=0.02)) as server, engine_at(server) as engine:
        async with aclosing(engine.stream(make_request())) as pieces:
            assert await anext(pieces) == "word"
        await asyncio.sleep(0.1)
        assert server.num_open == 0


async def test_nothing_is_tried_again_after_a_piece_was_given_out(make_request: RequestFactory) -> None:
    async with faulty_server(PASSING["truncated stream"]) as server, engine_at(server) as engine:
        stream = engine.stream(make_request())
        assert await anext(stream) == "Four"
        with pytest.raises(EngineError, match="unfinished"):
            await anext(stream)
        assert len(server.bodies) == 1


async def test_a_stream_is_tried_again_before_its_first_piece(make_request: RequestFactory) -> None:
    async with faulty_server(fault.status(500)) as server, engine_at(server) as engine:
        pieces = [piece async for piece in engine.stream(make_request())]
        assert pieces[0] == fault.PIECES[0]
        assert len(server.bodies) == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(form: str, make_request: RequestFactory) -> None:
    dates = {"Date": "Mon, 30 Nov 2026 10:00:00 GMT", "Retry_After": "Mon, 30 Nov 2026 10:00:01 GMT"}
    headers = {"Retry_After": "1"} if form == "seconds" else dates
    async with faulty_server(fault.status(429, **headers)) as server, engine_at(server) as engine:
        assert (await engine.generate(make_request())).text == ANSWER
        first, second = server.asked_at
        assert 1.0 <= second - first < 2.0


async def test_no_wait_for_an_endpoint_that_asks_for_more_than_there_is(make_request: RequestFactory) -> None:
    async with faulty_server(fault.status(429, Retry_After="3600")) as server, engine_at(server) as engine:
        with pytest.raises(EngineError, match=r"429.*none may be asked for 3600 s"):
            await engine.generate(make_request())


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 413, 422])
async def test_what_does_not_change_is_not_tried_again(code: int, make_request: RequestFactory) -> None:
    reply = fault.status(code, {"error": {"message": "no such thing", "code": code}}, Location="/elsewhere")
    async with faulty_server(reply) as server, engine_at(server) as engine:
        with pytest.raises(RequestRefusedError, match=str(code)):
            await engine.generate(make_request())
        assert len(server.bodies) == 1


async def test_an_account_without_money_is_not_asked_again(make_request: RequestFactory) -> None:
    reply = fault.status(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    async with faulty_server(reply) as server, engine_at(server) as engine:
        with pytest.raises(RequestRefusedError, match="exceeded your quota"):
            await engine.generate(make_request())


async def test_an_answer_without_counts_or_cut_by_a_filter_is_an_error(make_request: RequestFactory) -> None:
    uncounted = fault.streamed(fault.delta("Four"), fault.delta("", "stop"), b"[DONE]")
    filtered = fault.streamed(fault.delta("Fo"), fault.delta("", "content_filter"), fault.FINISH[1], b"[DONE]")
    async with faulty_server(uncounted, filtered) as server, engine_at(server) as engine:
        with pytest.raises(EngineError, match="does not count tokens"):
            await engine.generate(make_request())
        with pytest.raises(EngineError, match="content_filter"):
            await engine.generate(make_request())
        assert len(server.bodies) == 2


async def test_what_is_too_long_is_refused_here(make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server, max_model_len=100) as engine:
        with pytest.raises(RequestRefusedError, match="shorten the prompt"):
            await engine.generate(make_request("word " * 50))
        assert server.bodies == []


async def test_two_endpoints_share_the_load(make_request: RequestFactory) -> None:
    async with faulty_server() as one, faulty_server() as other, engine_at(one, other) as engine:
        one.default = other.default = fault.answers(pause_s=0.02)
        await asyncio.gather(*(engine.generate(make_request()) for _ in range(20)))
        assert len(one.bodies) == len(other.bodies) == 10


@pytest.mark.parametrize("is_dead_at_start", [True, False])
async def test_of_two_endpoints_one_may_be_dead(
    is_dead_at_start: bool, make_request: RequestFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        closed_port() as gone,
        faulty_server() as server,
        faulty_server() as other,
        engine_at(server, gone if is_dead_at_start else other) as engine,
    ):
        other.default = fault.raw()
        texts = await asyncio.gather(*(engine.generate(make_request()) for _ in range(20)))
        assert {one.text for one in texts} == {ANSWER}
    warned = [record for record in caplog.records if "cannot be used now" in record.message]
    assert len(warned) == is_dead_at_start


async def test_an_endpoint_that_hangs_is_tried_with_one_request_at_a_time(make_request: RequestFactory) -> None:
    async with faulty_server() as good, faulty_server() as bad, engine_at(good, bad, silence_s=0.2) as engine:
        bad.default = fault.hangs
        good.default = fault.answers(pause_s=0.01)
        await asyncio.gather(*(engine.generate(make_request()) for _ in range(8)))
        assert len(bad.bodies) == 4
        await asyncio.sleep(0.1)
        await asyncio.gather(*(engine.generate(make_request()) for _ in range(8)))
        assert len(bad.bodies) <= 5


async def test_many_that_fail_together_are_one_failure(make_request: RequestFactory) -> None:
    async with faulty_server() as server, engine_at(server) as engine:
        server.script.extend([fault.status(500)] * 50)
        completions = await asyncio.gather(*(engine.generate(make_request()) for _ in range(50)))
        assert {one.text for one in completions} == {ANSWER}
        assert len(server.bodies) == 100


async def test_every_query_ends_under_a_mix_of_faults(make_request: RequestFactory) -> None:
    async with (
        closed_port() as gone,
        faulty_server() as one,
        faulty_server() as other,
        engine_at(one, gone, other, silence_s=0.1) as engine,
    ):
        one.script.extend([*PASSING.values()] * 2)
        other.script.extend([fault.drips, *PASSING.values()])
        admitted = AdmittedEngine(engine, deadline_s=DEADLINE_S)
        started = time.monotonic()
        ended = await asyncio.gather(*(admitted.generate(make_request()) for _ in range(40)), return_exceptions=True)
        assert time.monotonic() - started < DEADLINE_S + 1
        assert all(isinstance(one, (Completion, EngineError)) for one in ended), ended
        assert sum(isinstance(one, Completion) for one in ended) >= 35
        assert engine.num_unfinished == 0


async def test_closing_ends_what_is_under_way(make_request: RequestFactory) -> None:
    async with (
        faulty_server(fault.hangs, fault.status(429, Retry_After="4")) as server,
        engine_at(server, silence_s=60.0) as engine,
    ):
        hanging = asyncio.ensure_future(engine.generate(make_request()))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(engine.generate(make_request()))
        await asyncio.sleep(0.1)
        await engine.close()
        results = await asyncio.wait_for(asyncio.gather(hanging, waiting, return_exceptions=True), 1.0)
        assert engine.is_dead
        with pytest.raises(EngineDeadError):
            await engine.generate(make_request())
    assert [type(one) for one in results] == [EngineDeadError, EngineDeadError]


async def test_choices_are_asked_for_in_the_words_of_the_server(make_request: RequestFactory) -> None:
    request = make_request(choices=("A", "B"))
    async with faulty_server(fault.answers('{"choice"', ': "B"}')) as server, engine_at(server) as engine:
        pieces = [piece async for piece in engine.stream(request)]
        assert pieces[0] == "B"
        assert server.bodies[0]["response_format"]["type"] == "json_schema"
        with pytest.raises(EngineError, match="none of the choices"):
            await engine.generate(request)
    async with faulty_server(fault.answers("A")) as server:
        server.card["owned_by"] = "vllm"
        async with engine_at(server) as engine:
            assert (await engine.generate(request)).text == "A"
        assert server.bodies[0]["structured_outputs"] == {"choice": ["A", "B"]}


CARD = {"id": "other-model"}
BAD_STARTS: dict[str, tuple[Reply, str]] = {
    "401": (fault.status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), "401: the key"),
    "404": (fault.status(404), "up to and with /v1"),
    "500": (fault.status(500), "no endpoint can be used.*500"),
    "no list": (fault.status(200, b"<html>"), "no list of models"),
    "hangs up": (fault.raw(), "no endpoint can be used"),
    "another model": (fault.status(200, {"data": [CARD]}), "does not serve 'model'; it serves other-model"),
    "no length": (fault.status(200, {"data": [{"id": fault.MODEL}]}), "set engine.max_model_len"),
}


@pytest.mark.parametrize(("models", "why"), BAD_STARTS.values(), ids=BAD_STARTS.keys())
async def test_a_start_that_cannot_be_says_why(models: Reply, why: str) -> None:
    async with faulty_server() as server:
        server.models = models
        with pytest.raises(EngineStartError, match=why) as caught:
            async with engine_at(server):
                pass
    assert KEY not in str(caught.value)


async def test_a_start_needs_its_key_and_its_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with faulty_server() as server:
        for settings, why in (
            ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
            ({"max_model_len": 4096}, "4096.*512"),
            ({"tokenizer": "./no-such-folder"}, "no-such-folder"),
        ):
            with pytest.raises(EngineStartError, match=why):
                async with engine_at(server, **settings):
                    pass
        monkeypatch.setenv("TEST_KEY", f"{KEY}\nX-Injected: yes")
        with pytest.raises(EngineStartError, match="printable") as caught:
            async with engine_at(server):
                pass
        assert KEY not in str(caught.value)


async def test_the_key_is_in_no_error_and_no_log(
    make_request: RequestFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"you sent {KEY}", "code": 400}}
    replies = [fault.status(400, echo), fault.status(401, echo), fault.streamed(echo), fault.status(404, KEY.encode())]
    async with faulty_server(*replies) as server, engine_at(server) as engine:
        for _ in replies:
            with pytest.raises(EngineError) as caught:
                await engine.generate(make_request())
            error: BaseException | None = caught.value
            while error is not None:
                assert KEY not in repr(error)
                error = error.__cause__
        server.default = fault.status(500, echo)
        with pytest.raises(EngineError) as caught:
            await engine.generate(make_request())
        assert KEY not in str(caught.value)
    assert KEY not in caplog.text
