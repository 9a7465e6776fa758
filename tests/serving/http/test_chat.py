"""The chat path over a real socket: the official client, plain HTTP, and everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

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


@pytest.fixture(scope="module")
def engine() -> CountingEngine:
    return CountingEngine(max_model_len=256)


@pytest.fixture(scope="module")
def server(engine: CountingEngine) -> Iterator[Running]:
    with running(EngineBackend(engine), max_body_bytes=100_000, log_content=True) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)


def test_the_official_client_completes(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "What is 3 plus 4?"}], seed=1, max_tokens=60
    )
    assert answer.choices[0].message.content is not None
    assert "Answer: " in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 6
    assert answer.usage.completion_tokens == len(answer.choices[0].message.content.split())


def test_the_official_client_streams_the_same_text_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "What?"}], seed=2, max_tokens=60
    )
    chunks = list(
        client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": "What?"}],
            seed=2,
            max_tokens=60,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(text) == whole.choices[0].message.content
    assert sum(map(bool, text)) == len("".join(text).split())  # a piece a token
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_differ_and_keep_their_index(client: openai.OpenAI, stream: bool) -> None:
    arguments: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "Go"}], "seed": 3, "n": 3}
    texts = ["", "", ""]
    if stream:
        for chunk in client.chat.completions.create(**arguments, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        answer = client.chat.completions.create(**arguments)
        texts = [choice.message.content or "" for choice in answer.choices]
    singles = [
        client.chat.completions.create(**(arguments | {"n": 1, "seed": 3 + index})).choices[0].message.content
        for index in range(3)
    ]
    assert texts == singles


def test_the_client_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base"]
    assert client.models.retrieve("base").id == "base"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing/like it")


def test_sampling_fields_reach_the_engine(server: Running, engine: CountingEngine) -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "max_completion_tokens": 7, "stop": ["x"], "seed": -1}
    assert server.post(QUESTION | fields).status_code == 200
    request = engine.requests[-1]
    assert (request.temperature, request.top_p, request.max_tokens, request.stop) == (0.5, 0.9, 7, ("x",))
    assert request.seed == 2**63 - 1
    assert server.post(QUESTION | {"stop": "y"}).status_code == 200
    assert engine.requests[-1].stop == ("y",)
    assert engine.requests[-1].max_tokens == 256 - 6  # what the prompt leaves
    assert engine.requests[-1].seed is None


def test_parts_are_joined_and_developers_are_systems(server: Running, engine: CountingEngine) -> None:
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]
    messages = [{"role": "developer", "content": "Be kind"}, {"role": "user", "content": parts, "name": "Ada"}]
    assert server.post({"model": "base", "messages": messages, "max_tokens": 4}).status_code == 200
    assert [(one.role, one.content) for one in engine.requests[-1].messages] == [
        ("system", "Be kind"),
        ("user", "One two"),
    ]


BAD: list[tuple[Any, str | None]] = [
    ([], None),
    ("text", None),
    ({}, "model"),
    (QUESTION | {"messages": []}, "messages"),
    (QUESTION | {"messages": "hi"}, "messages"),
    (QUESTION | {"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role"),
    (QUESTION | {"messages": [{"role": "user", "content": 5}]}, "messages.0.content.str"),
    (QUESTION | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0"),
    (QUESTION | {"temperature": "hot"}, "temperature"),
    (QUESTION | {"temperature": "0.5"}, "temperature"),
    (QUESTION | {"temperature": 3}, "temperature"),
    (QUESTION | {"top_p": 0}, "top_p"),
    (QUESTION | {"max_tokens": 0}, "max_tokens"),
    (QUESTION | {"max_tokens": 1.5}, "max_tokens"),
    (QUESTION | {"max_tokens": True}, "max_tokens"),
    (QUESTION | {"max_tokens": 10**6}, "messages"),
    (QUESTION | {"n": 9}, "n"),
    (QUESTION | {"seed": 2**70}, "seed"),
    (QUESTION | {"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    (QUESTION | {"stop": [""]}, "stop"),
    (QUESTION | {"stream": "yes"}, "stream"),
    (QUESTION | {"messages": [{"role": "user", "content": "word " * 300}]}, "messages"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_what_cannot_be_is_a_400_that_names_the_field(server: Running, body: Any, param: str | None) -> None:
    response = httpx.post(server.url + CHAT, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] is None if param is None else error["param"].startswith(param)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"model": "base", "seed": NaN}', b'{"model": "\\ud800"}']
)
def test_malformed_json_is_a_400(server: Running, content: bytes) -> None:
    response = httpx.post(server.url + CHAT, content=content)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_unknown_fields_are_ignored(server: Running) -> None:
    assert server.post(QUESTION | {"logit_bias": {"5": 1}, "tools": [], "nonsense": {"a": [1]}}).status_code == 200


def test_an_unknown_model_is_a_404(server: Running) -> None:
    response = server.post(QUESTION | {"model": "gpt-5"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/page/nothing.js", 404),
        ("GET", "/page/..%2fkeys.py", 404),
        ("GET", "/docs", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_other_paths_and_methods_have_the_error_shape(server: Running, method: str, path: str, status: int) -> None:
    response = httpx.request(method, httpx.URL(server.url).copy_with(raw_path=path.encode()))
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "root:" not in response.text


@pytest.mark.parametrize("given", ["a" * 129, "a b", "a/b", "a\tb", "é"])
def test_a_harmful_request_id_is_replaced(server: Running, given: str) -> None:
    response = httpx.get(server.url + "/health", headers={b"X-Request-Id": given.encode("utf-8")})
    assert response.status_code == 200
    assert response.headers.get_list("X-Request-Id") != [given]
    assert len(response.headers["X-Request-Id"]) == 32


def test_a_request_id_is_echoed_logged_and_part_of_the_engines(server: Running, engine: CountingEngine) -> None:
    response = server.post(QUESTION, headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    assert response.json()["id"] == "chatcmpl-mine-1"
    wait_until(lambda: server.lines("query")[-1]["request_id"] == "mine-1")
    line = server.lines("query")[-1]
    assert line["status"] == 200
    assert line["messages"] == [{"role": "user", "content": "What is 3 plus 4?"}]
    assert line["answers"] == [response.json()["choices"][0]["message"]["content"]]
    assert engine.requests[-1].request_id.startswith("mine-1/")


def test_every_response_has_a_request_id(server: Running) -> None:
    ids = {httpx.get(server.url + path).headers["X-Request-Id"] for path in ("/health", "/nothing", "/v1/models")}
    assert len(ids) == 3


def test_a_text_cannot_end_its_event(server: Running) -> None:
    """JSON carries line breaks escaped, so what an event stream is cut at never comes from a text."""
    with server.client() as client, client.stream("POST", CHAT, json=STREAMED) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_openapi_names_the_fields(server: Running) -> None:
    document = server.get("/openapi.json").json()
    schema = document["components"]["schemas"]["ChatRequest"]
    assert {"model", "messages", "seed", "stream"} <= schema["properties"].keys()
    assert "401" in document["paths"][CHAT]["post"]["responses"]
    assert {"401", "404", "503"} <= document["paths"]["/v1/models/{name}"]["get"]["responses"].keys()
