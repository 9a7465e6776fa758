"""What the server does under load, with clients that misbehave, and with engines that die; over real sockets."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from serving.http import page, supervisor
from serving.types import Completion, EngineStartError, GenerationRequest
from tests.serving.http.running import (
    CHAT,
    QUESTION,
    STREAMED,
    CountingEngine,
    EngineBackend,
    Running,
    running,
    wait_until,
)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def test_beyond_the_queue_it_is_429_with_retry_after(pool: ThreadPoolExecutor) -> None:
    engine = CountingEngine(delay_s=0.5)
    with running(EngineBackend(engine), max_in_flight=1, max_queued=1) as server:
        asked = [pool.submit(server.post, QUESTION) for _ in range(6)]
        responses = [one.result() for one in asked]
        statuses = sorted(response.status_code for response in responses)
        assert statuses[:2] == [200, 200]
        assert set(statuses[2:]) <= {200, 429}
        refused = [response for response in responses if response.status_code == 429]
        assert refused
        assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)
        assert all(response.json()["error"]["type"] == "rate_limit_error" for response in refused)
        metrics = server.get("/metrics").text
        assert f'lamas_request_rejected_total{{model_name="base"}} {float(len(refused))}' in metrics


@pytest.mark.parametrize("body", [QUESTION, STREAMED, STREAMED | {"n": 3}])
def test_a_client_that_goes_takes_its_requests_along(body: dict[str, Any]) -> None:
    engine = CountingEngine(delay_s=0.05, token_s=5.0)
    with running(EngineBackend(engine)) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + CHAT, json=body, timeout=httpx.Timeout(5, read=0.3))
        assert engine.requests
        wait_until(lambda: engine.num_unfinished == 0, 2.0)
        wait_until(lambda: bool(server.lines("query")))
        assert server.lines("query")[0]["finish_reason"] == "abort"


def test_a_client_that_goes_while_it_waits_frees_its_place(pool: ThreadPoolExecutor) -> None:
    engine = CountingEngine(delay_s=0.6)
    with running(EngineBackend(engine), max_in_flight=1, max_queued=1) as server:
        first = pool.submit(server.post, QUESTION)
        wait_until(lambda: engine.num_unfinished == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + CHAT, json=QUESTION, timeout=0.2)
        wait_until(lambda: server.service.door.num_queued == 0, 2.0)
        assert server.post(QUESTION).status_code == 200
        assert first.result().status_code == 200
        assert len(engine.requests) == 2


def test_a_query_that_takes_too_long_is_stopped_with_504() -> None:
    engine = CountingEngine(delay_s=10.0)
    with running(EngineBackend(engine), query_timeout_s=0.2) as server:
        response = server.post(QUESTION)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        assert engine.num_unfinished == 0


class EndlessEngine(CountingEngine):
    async def _run(self, request: GenerationRequest, is_streamed: bool) -> AsyncGenerator[str | Completion, None]:
        self.requests.append(request)
        self._num_unfinished += 1
        try:
            while True:
                await asyncio.sleep(0)
                yield "x" * 2**20
        finally:
            self._num_unfinished -= 1


def test_a_client_that_does_not_read_is_let_go() -> None:
    engine = EndlessEngine()
    with (
        running(EngineBackend(engine), write_timeout_s=0.3) as server,
        server.client() as client,
        client.stream("POST", CHAT, json=STREAMED),
    ):
        wait_until(lambda: bool(engine.requests))
        wait_until(lambda: engine.num_unfinished == 0, 5.0)
        assert server.get("/health").status_code == 200


def raw(server: Running) -> socket.socket:
    url = httpx.URL(server.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while data := connection.recv(65536):
            answer += data
    except ConnectionResetError:
        pass
    return answer


HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()


def test_slow_headers_and_slow_bodies_end_in_time_while_others_are_served() -> None:
    with (
        running(EngineBackend(CountingEngine()), header_timeout_s=0.4, body_timeout_s=0.4) as server,
        raw(server) as silent,
        raw(server) as slow_head,
        raw(server) as slow_body,
    ):
        slow_body.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        started = time.monotonic()
        for byte in b"GET /health HTTP/1.1":
            if time.monotonic() - started > 0.6:
                break
            try:
                slow_head.sendall(bytes([byte]))
                slow_body.sendall(b"{")
            except OSError:
                break
            time.sleep(0.05)
            assert server.post(QUESTION).status_code == 200
        assert read_all(silent) == b""
        assert read_all(slow_head) == b""
        assert b" 408 " in read_all(slow_body).splitlines()[0]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_413(is_chunked: bool) -> None:
    with running(EngineBackend(CountingEngine()), max_body_bytes=10_000) as server:
        body = b" " * 2_000_000
        content: Any = iter([body[:1_000_000], body[1_000_000:]]) if is_chunked else body
        response = httpx.post(server.url + CHAT, content=content)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
        assert server.post(QUESTION).status_code == 200


def test_what_is_no_http_and_endless_headers_are_refused() -> None:
    with running(EngineBackend(CountingEngine()), max_header_bytes=5000) as server:
        with raw(server) as garbage:
            garbage.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            answer = read_all(garbage)
        assert b" 400 " in answer.splitlines()[0]
        assert b'"error"' in answer
        with raw(server) as endless:
            endless.sendall(HEAD + b"X-Long: " + b"a" * 6000)
            assert b" 431 " in read_all(endless).splitlines()[0]


def test_a_header_with_a_line_break_makes_no_header_of_the_response() -> None:
    with running(EngineBackend(CountingEngine())) as server, raw(server) as connection:
        connection.sendall(
            b"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\r\n Set-Cookie: b=c\r\nConnection: close\r\n\r\n"
        )
        assert b"set-cookie: b=c" not in read_all(connection).lower()


def test_no_response_waits_for_an_acknowledgement() -> None:
    with running(EngineBackend(CountingEngine())) as server, raw(server):
        wait_until(lambda: len(server.server.server_state.connections) > 0)
        (connection,) = server.server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_idle_connections_beyond_the_bound_make_way() -> None:
    with (
        running(EngineBackend(CountingEngine()), max_connections=50, header_timeout_s=30) as server,
        ExitStack() as idle,
    ):
        for _ in range(200):
            idle.enter_context(raw(server))
        assert server.post(QUESTION).status_code == 200
        wait_until(lambda: len(server.server.server_state.connections) <= 51)


def test_draining_finishes_what_was_accepted_and_refuses_the_rest(pool: ThreadPoolExecutor) -> None:
    engine = CountingEngine(delay_s=0.4)
    with running(EngineBackend(engine), max_in_flight=2, max_queued=5, shutdown_timeout_s=10) as server:
        accepted = [pool.submit(server.post, QUESTION) for _ in range(4)]
        wait_until(lambda: len(server.service.running) == 4)
        server.stop()
        wait_until(lambda: server.service.supervisor.state == "draining")
        refused = server.post(QUESTION)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert server.get("/ready").status_code == 503
        assert server.get("/health").status_code == 200
        assert [one.result().status_code for one in accepted] == [200] * 4
        server.thread.join(5)
        assert not server.thread.is_alive()
        assert server.error is None


def test_after_the_shutdown_timeout_everything_ends(pool: ThreadPoolExecutor) -> None:
    engine = CountingEngine(delay_s=60)
    backend = EngineBackend(engine)
    with running(backend, shutdown_timeout_s=0.2) as server:
        asked = pool.submit(server.post, QUESTION)
        wait_until(lambda: engine.num_unfinished == 1)
        server.stop()
        assert asked.result().status_code == 503
        server.thread.join(5)
        assert not server.thread.is_alive()
        assert engine.num_unfinished == 0
        assert backend.is_closed


def test_a_dead_engine_is_replaced(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_WAIT_S", 0.05)
    backends: list[EngineBackend] = []
    may_open = threading.Event()

    async def open_backend() -> EngineBackend:
        if len(backends) == 1 and not may_open.is_set():
            raise EngineStartError("no memory")
        backends.append(EngineBackend(CountingEngine()))
        return backends[-1]

    with running(open_backend) as server:
        assert server.post(QUESTION).status_code == 200
        backends[0].engine.has_died = True
        response = server.post(QUESTION)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        wait_until(lambda: len(server.lines("engine_start_failed")) >= 2)
        assert server.get("/ready").json()["error"]["code"] == "restarting"
        assert server.post(QUESTION).status_code == 503
        assert server.get("/health").status_code == 200
        may_open.set()
        wait_until(lambda: server.get("/ready").status_code == 200)
        assert server.post(QUESTION).status_code == 200
        assert backends[0].is_closed
        assert "lamas_engine_restarts_total 1.0" in server.get("/metrics").text
    assert backends[1].is_closed


def test_it_listens_before_there_is_an_engine() -> None:
    may_open = threading.Event()

    async def open_backend() -> EngineBackend:
        await asyncio.to_thread(may_open.wait)
        return EngineBackend(CountingEngine())

    with running(open_backend, is_ready=False) as server:
        assert server.get("/health").json() == {"status": "ok"}
        assert server.get("/ready").json()["error"]["code"] == "starting"
        assert server.post(QUESTION).status_code == 503
        assert server.get("/v1/models").status_code == 503
        may_open.set()
        wait_until(lambda: server.get("/ready").status_code == 200)


def test_an_engine_that_does_not_start_at_first_ends_the_server() -> None:
    async def open_backend() -> EngineBackend:
        raise EngineStartError("no such model")

    with running(open_backend, is_ready=False) as server:
        server.thread.join(5)
        assert isinstance(server.error, EngineStartError)


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_loses_lines_only() -> None:
    with running(EngineBackend(CountingEngine()), log=FullDisk()) as server:
        assert server.post(QUESTION).status_code == 200
        lost = [
            line for line in server.get("/metrics").text.splitlines() if line.startswith("lamas_log_lines_lost_total")
        ]
        assert float(lost[0].split()[1]) >= 2


def test_content_is_not_logged_unless_asked() -> None:
    with running(EngineBackend(CountingEngine())) as server:
        answer = server.post(QUESTION).json()["choices"][0]["message"]["content"]
        assert isinstance(server.log, io.StringIO)
        assert "3 plus 4" not in server.log.getvalue()
        assert answer not in server.log.getvalue()


KEYED = [("GET", path) for path in ("/page/nothing", "/metrics", "/v1/models", "/openapi.json", "/nothing", "/docs")]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}, {"Authorization": "Basic first"},
     {"Authorization": "first"}, {"Authorization": "Bearer firs"}, {"Authorization": "Bearer first2"}],
)  # fmt: skip
def test_without_a_key_only_health_and_the_page_are_told(keyed: Running, headers: dict[str, str]) -> None:
    for method, path in [*KEYED, ("POST", CHAT)]:
        response = httpx.request(method, keyed.url + path, headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert "first" not in response.text
    assert keyed.get("/health").json() == {"status": "ok"}
    assert keyed.get("/ready").json() == {"status": "ready"}
    assert httpx.get(keyed.url + "/", headers=headers).text == (page.FOLDER / "index.html").read_text()


@pytest.mark.parametrize("key", ["first", "second"])
def test_any_of_the_keys_opens(keyed: Running, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    assert keyed.post(QUESTION, headers=headers).status_code == 200
    assert keyed.get("/metrics", headers=headers).status_code == 200


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    with running(EngineBackend(CountingEngine()), api_keys=("first", "second")) as server:
        yield server


def test_metrics_count_every_query() -> None:
    with running(EngineBackend(CountingEngine())) as server:
        usage = server.post(QUESTION | {"max_tokens": 3}).json()["usage"]
        with server.client() as client, client.stream("POST", CHAT, json=STREAMED | {"max_tokens": 3}) as response:
            response.read()
        text = server.get("/metrics").text
        assert 'lamas_request_success_total{finished_reason="length",model_name="base"} 2.0' in text
        assert f'lamas_prompt_tokens_total{{model_name="base"}} {2.0 * usage["prompt_tokens"]}' in text
        assert 'lamas_generation_tokens_total{model_name="base"} 6.0' in text
        assert 'lamas_e2e_request_latency_seconds_count{model_name="base"} 2.0' in text
        assert 'lamas_time_to_first_token_seconds_count{model_name="base"} 2.0' in text
        assert "lamas_num_requests_running 0.0" in text
        assert "lamas_num_requests_waiting 0.0" in text
