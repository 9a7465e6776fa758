"""The page on the server it belongs to, with a trained run and the fake engine: what one tells, the other shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter

from lamas_local.cli import main
from lamas_local.config_loader import load_config
from lamas_local.orchestrator.backend import open_backend
from lamas_local.orchestrator.metrics import RolloutMetrics
from lamas_local.orchestrator.request import LamasRequest
from lamas_local.orchestrator.view import LamasEvent, RolloutView
from lamas_local.run_folder import RunFolder
from serving.http.app import guarded, new_app, new_service
from serving.http.server import listen, new_server
from serving.http.settings import ServerSettings
from tests.lamas_local.builders import write_config
from tests.serving.http.page.replay import events_of, example_rollout
from tests.serving.http.page.test_timeline import operators_of
from tests.serving.http.page.visit import Visit

KEY = "a key of this test"


def test_the_replay_speaks_as_the_server_does() -> None:
    rollout = RolloutView.model_validate(example_rollout(), strict=False)
    assert rollout.model_dump(mode="json") == example_rollout()
    for _, event in events_of(example_rollout()):
        TypeAdapter[LamasEvent](LamasEvent).validate_python(event)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("page") / "run"
    controller = {"encoder": "fake", "num_layers": 3}
    assert main(write_config(folder, controller=controller, trainer={"num_steps": 1})) == 0
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(run: Path) -> AsyncIterator[str]:
    """Where that run is served, with a key, a word each 20 ms."""
    settings = ServerSettings(port=0, api_keys=(KEY,))
    config = load_config(run / "config.yaml", ["--engine.token-s", "0.02"], "test")
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    service = new_service(settings, lambda: open_backend(config, RunFolder(run), metrics), registry, LamasRequest)
    listener = listen(settings)
    server = new_server(guarded(new_app(service, registry), settings), service)
    supervising = asyncio.ensure_future(service.supervisor.run())
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.stop()
    await serving
    supervising.cancel()
    await asyncio.wait([supervising])


@pytest.mark.asyncio(loop_scope="session")
async def test_a_question_is_asked_watched_and_compared(browser: Browser, served: str) -> None:
    visit = await Visit.begin(browser, served)
    try:
        await _unlock(visit)
        visit.errors.clear()  # the browser's own word about the 401 that asked for the key
        streams: list[Any] = []
        visit.page.on("response", lambda response: streams.append(response) if response.request.post_data else None)
        await visit.at("#compare").check()
        await visit.ask("What is 3 plus 4?")
        await visit.see(".lane.running")
        await visit.see("#result[data-phase=running]")
        await visit.wait_for("done")
        await visit.see("#recent-list .facts:text('compared')")
        await streams[0].finished()
        events = [json.loads(line[6:]) for line in (await streams[0].text()).splitlines() if line.startswith("data: {")]
        rollout = next(chunk["lamas"]["rollout"] for chunk in events if chunk.get("lamas", {}).get("rollout"))
        answer = "".join(choice["delta"].get("content", "") for chunk in events for choice in chunk["choices"])
        operators = operators_of(rollout)
        assert await visit.texts(".lane .name span:last-child") == [one["name"] for one in operators]
        shown = await visit.evaluate(
            "() => [...document.querySelectorAll('.lane')].map((l) => [+l.dataset.started, +l.dataset.ended])"
        )
        assert shown == [[one["started_s"], one["ended_s"]] for one in operators]
        assert await visit.texts(".lane .seconds") == [_seconds(one["ended_s"] - one["started_s"]) for one in operators]
        assert await visit.texts(".fact.main dd") == [_seconds(rollout["measured_s"])]
        assert await visit.at(".lane.by-seconds").count() == sum(one["is_critical_by_seconds"] for one in operators)
        assert await visit.at(".column .answer").first.text_content() == answer
        assert "Answer:" in await visit.at(".column .answer").nth(1).inner_text()
        assert visit.errors == []
    finally:
        await visit.end()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_budget_the_server_refuses_is_told_in_its_words(browser: Browser, served: str) -> None:
    visit = await Visit.begin(browser, served)
    try:
        await _unlock(visit)
        await visit.at("#budget").fill("100000")
        await visit.ask()
        await expect(visit.at("#alert")).to_contain_text("The server does not accept this question: latency_budget_s")
    finally:
        await visit.end()


async def _unlock(visit: Visit) -> None:
    await expect(visit.at("#key")).to_be_focused()
    await visit.page.keyboard.type(KEY)
    await visit.page.keyboard.press("Enter")
    await expect(visit.at("#server")).to_have_text("Ready, on fake", timeout=20_000)


def _seconds(value: float) -> str:
    if 0 < value < 0.0005:
        return "< 0.001 s"
    return f"{value:.2f} s" if value >= 0.1 or value == 0 else f"{value:.3f} s"
