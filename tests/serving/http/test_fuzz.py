"""Whatever JSON a client sends, the server answers it or says what is wrong: never a 5xx, always in shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.http.running import CHAT, CountingEngine, EngineBackend, running

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "developer", "tool"])},
    optional={"content": st.text(max_size=40) | st.none() | ANYTHING, "name": ANYTHING},
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["base", "other"]), "messages": st.lists(TURN, max_size=4)},
    optional={
        "stream": st.booleans() | ANYTHING,
        "stream_options": ANYTHING | st.fixed_dictionaries({"include_usage": st.booleans()}),
        "n": st.integers(-1, 9) | ANYTHING,
        "max_tokens": st.integers(-1, 100) | ANYTHING,
        "max_completion_tokens": st.integers(-1, 100) | ANYTHING,
        "temperature": st.floats(-1, 3) | ANYTHING,
        "top_p": st.floats(-1, 2) | ANYTHING,
        "stop": st.text(max_size=4) | st.lists(st.text(max_size=3), max_size=6) | ANYTHING,
        "seed": st.integers() | ANYTHING,
        "tools": ANYTHING,
    },
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(EngineBackend(CountingEngine(max_model_len=128))) as server, server.client() as client:
        yield client


@settings(max_examples=80)
@given(body=BODY | ANYTHING)
def test_any_json(client: httpx.Client, body: Any) -> None:
    response = client.post(CHAT, content=json.dumps(body))
    assert response.status_code in (200, 400, 404)
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    elif isinstance(body, dict) and body.get("stream"):
        assert response.text.endswith("data: [DONE]\n\n")
        assert '"error"' not in response.text
    else:
        assert response.json()["choices"]


@settings(max_examples=25)
@given(path=st.text("abv1/.%2e5cf\\~;@:&=+", max_size=30), body=st.binary(max_size=50))
def test_any_path_and_any_bytes(client: httpx.Client, path: str, body: bytes) -> None:
    url = client.base_url.copy_with(raw_path=b"/x" + path.encode("ascii"))
    assert client.request("POST", url, content=body).status_code in (400, 404, 405)


def test_the_server_is_still_there(client: httpx.Client) -> None:
    assert client.get("/ready").status_code == 200
