"""What a person does at the page: asking, stopping, comparing, looking again, and what they are told when it fails."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.serving.http.page.conftest import Begin
from tests.serving.http.page.replay import HOSTILE, Replay
from tests.serving.http.page.visit import QUESTION, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_team_is_asked_as_the_api_says(replay: Replay, visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    assert replay.asked == [
        {
            "model": "lamas",
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert await visit.at("#server").inner_text() == "Ready, on smollm2-135m-instruct"


async def test_the_base_model_is_compared_after_the_team(replay: Replay, visit: Visit) -> None:
    await visit.at("#compare").check()
    await visit.ask()
    await expect(visit.at("#comparison")).to_be_visible()
    await expect(visit.at(".column .answer")).to_have_text([replay.answer, "There are 14 apples."])
    assert [body["model"] for body in replay.asked] == ["lamas", "smollm2-135m-instruct"]
    await visit.see("#recent-list .facts:text('compared')")
    team, base = [(await column.locator("dd").all_inner_texts()) for column in await visit.at(".column").all()]
    assert team[1:] == ["155", "366", "7"]
    assert base[1:] == ["4", "40", "1"]
    assert float(team[0].split()[0]) > 0
    assert float(base[0].split()[0]) > 0


async def test_the_comparison_can_be_asked_for_afterwards(visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    await visit.page.get_by_role("button", name="Ask smollm2-135m-instruct the same").click()
    await expect(visit.at(".column .answer").nth(1)).to_have_text("There are 14 apples.")


@pytest.mark.parametrize("how", ["button", "key"])
async def test_stopping_ends_the_request_and_keeps_what_was_seen(replay: Replay, visit: Visit, how: str) -> None:
    replay.speed = 0.2
    await visit.ask()
    await visit.see(".lane.running")
    if how == "key":
        await visit.page.keyboard.press("Escape")
    else:
        await visit.page.get_by_role("button", name="Stop").click()
    await visit.wait_for("stopped")
    assert await asyncio.to_thread(replay.gone.wait, 5)
    await expect(visit.at("#question")).to_be_focused()
    assert await visit.at(".lane").count() == 4
    assert await visit.at("#stop").is_hidden()
    frozen = await visit.texts(".lane .seconds")
    await asyncio.sleep(0.05)
    assert await visit.texts(".lane .seconds") == frozen
    assert await visit.at("#recent").is_hidden()


async def test_only_one_question_is_under_way(replay: Replay, visit: Visit) -> None:
    replay.speed = 0.5
    await visit.ask()
    await visit.see(".lane.running")
    await visit.ask("Another one?")
    await expect(visit.at("#status")).to_have_text("A question is being answered. Stop it first.")
    await visit.page.keyboard.press("Escape")
    await visit.wait_for("stopped")
    assert len(replay.asked) == 1


async def test_recent_questions_can_be_looked_at_again(visit: Visit) -> None:
    for question in ("First?", "Second?"):
        await visit.ask(question)
        await expect(visit.at("#recent-list .asked").first).to_have_text(question)
    seen = await visit.at("#timeline").inner_text()
    await visit.page.reload()
    assert await visit.texts("#recent-list .asked") == ["Second?", "First?"]
    await visit.page.get_by_role("button", name="First?").click()
    assert await visit.at("#result-heading").inner_text() == "First?"
    assert await visit.at("#timeline").inner_text() == seen
    await expect(visit.at("#result")).to_be_focused()
    assert await visit.evaluate("() => localStorage.length") == 0
    await visit.page.get_by_role("button", name="Forget them").click()
    assert await visit.at("#recent").is_hidden()
    assert await visit.evaluate("() => sessionStorage.length") == 0


async def test_markup_in_questions_names_and_answers_stays_text(replay: Replay, visit: Visit) -> None:
    first = replay.rollout["layers"][0]["operators"]
    first[0]["name"] = replay.rollout["architecture"][0][0] = HOSTILE
    replay.rollout["request_id"] = replay.answer = HOSTILE
    await visit.ask(HOSTILE)
    await visit.wait_for("done")
    await visit.at("summary").click()
    for place in ("#answer", "#result-heading", "#recent-list .asked", ".lane:first-of-type .name span"):
        assert await visit.at(place).first.text_content() == HOSTILE
    assert HOSTILE in await visit.at("#table").inner_text()
    assert await visit.evaluate("() => window.broken") is None
    assert await visit.evaluate("() => document.querySelectorAll('img, script').length") == 1


async def test_a_key_is_asked_for_and_kept_in_this_tab_only(replay: Replay, begin: Begin) -> None:
    replay.key = "open sesame"
    visit = await begin()
    await expect(visit.at("#key")).to_be_focused()
    await expect(visit.at("#alert")).to_have_text("This server needs an API key.")
    await visit.page.keyboard.type("wrong")
    await visit.page.keyboard.press("Enter")
    await expect(visit.at("#alert")).to_have_text("The server does not know this key.")
    await visit.at("#key").fill("open sesame")
    await visit.page.keyboard.press("Enter")
    await expect(visit.at("#server")).to_have_text("Ready, on smollm2-135m-instruct")
    assert await visit.at("#key-form").is_hidden()
    assert await visit.at("#notice").is_hidden()
    await visit.ask()
    await visit.wait_for("done")
    stored = await visit.evaluate("() => [Object.values(sessionStorage), localStorage.length, document.cookie]")
    assert "open sesame" in stored[0]
    assert stored[1:] == [0, ""]


async def test_a_key_that_expires_asks_the_question_again(replay: Replay, begin: Begin) -> None:
    visit = await begin()
    replay.key = "new"
    await visit.ask()
    await expect(visit.at("#key")).to_be_focused()
    await visit.page.keyboard.type("new")
    await visit.page.keyboard.press("Enter")
    await visit.wait_for("done")
    assert await visit.at("#result-heading").inner_text() == QUESTION


async def test_a_refusal_is_told_in_plain_words(replay: Replay, begin: Begin) -> None:
    visit = await begin()
    for status, wait, said, words, can_retry in (
        (429, "7", "full", "The server has as many questions as it can take. Try again in 7 seconds.", True),
        (503, "1", "draining", "The server cannot answer at the moment: draining. Try again in 1 second.", True),
        (400, "", "too low", "The server does not accept this question: too low", False),
        (413, "", "", "The question is longer than the server takes.", False),
        (502, "", "", "The proxy in front of the server has no answer from it.", True),
        (500, "", "a bug", "The server failed on this question: a bug", True),
    ):
        replay.refusal = (status, {"Retry-After": wait} if wait else {}, said)
        await visit.ask()
        await expect(visit.at("#alert")).to_have_text(words)
        assert await visit.at("#result").is_hidden()
        assert await visit.at("#retry").is_visible() is can_retry
    replay.refusal = None
    await visit.at("#retry").click()
    await visit.wait_for("done")
    assert await visit.at("#notice").is_hidden()


async def test_a_connection_that_breaks_leaves_what_had_come(replay: Replay, begin: Begin) -> None:
    visit = await begin()
    replay.breaks_after = 5
    await visit.ask()
    await visit.wait_for("failed")
    await expect(visit.at("#alert")).to_have_text("The connection ended before the answer was complete.")
    assert await visit.at(".lane").count() == 4
    assert await visit.at("#stop").is_hidden()


async def test_without_network_the_page_says_so(begin: Begin) -> None:
    visit = await begin()
    await visit.context.set_offline(True)
    await visit.ask()
    await expect(visit.at("#alert")).to_contain_text("The connection to the server is lost.")
    await visit.context.set_offline(False)
    await visit.page.get_by_role("button", name="Try again").click()
    await visit.wait_for("done")
