"""That everybody can use the page: by keyboard, by ear, in light and dark, on a narrow screen."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
from playwright.async_api import expect

from tests.serving.http.page.conftest import Begin
from tests.serving.http.page.replay import Replay
from tests.serving.http.page.visit import QUESTION, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

# WCAG 2: relative luminance, and the contrast of each text with the nearest opaque ground behind it.
_CONTRASTS = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;
    return [...numbers.slice(0, 3).map((n) => n * scale), numbers[3] ?? 1];
  };
  const channel = (n) => { n /= 255; return n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] === 1) return colour;
      if (colour[3] > 0) throw new Error(`half transparent ground: ${node.className}`);
    }
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = [...document.querySelectorAll('body *')].filter((node) =>
    node.checkVisibility() && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const found = texts.map((node) => [node.className || node.tagName, node.textContent.trim().slice(0, 30),
    ratio(parse(getComputedStyle(node).color), ground(node))]);
  for (const node of document.querySelectorAll('input:not([type=checkbox]), textarea')) {
    if (node.checkVisibility()) found.push(['placeholder', node.id, ratio(parse(getComputedStyle(node, '::placeholder').color), ground(node))]);
  }
  return found;
}"""  # noqa: E501

_UNNAMED = """() => [...document.querySelectorAll('button, input, textarea, select, [role=img], [role=region]')]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim()))
  .map((node) => node.outerHTML)"""


async def focused(visit: Visit) -> str:
    """What has the focus, by its id or its text."""
    name = await visit.evaluate("() => document.activeElement.id || document.activeElement.textContent.trim()")
    return str(name)


async def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    order = []
    for _ in range(6):
        await visit.page.keyboard.press("Tab")
        order.append(await focused(visit))
    assert order == ["Skip to the result", "question", "budget", "mode", "compare", "ask"]
    for _ in range(4):
        await visit.page.keyboard.press("Shift+Tab")
    await visit.page.keyboard.type(QUESTION)
    await visit.page.keyboard.press("Control+Enter")
    await visit.wait_for("done")
    assert await focused(visit) == "question"
    for _ in range(5):
        await visit.page.keyboard.press("Tab")
    assert await focused(visit) == "The timeline as a table"
    await visit.page.keyboard.press("Enter")
    await expect(visit.at("#table table")).to_be_visible()
    await visit.page.keyboard.press("Tab")
    assert await focused(visit) == "table"
    await visit.page.keyboard.press("Tab")
    assert await focused(visit) == "compare-now"
    await visit.page.keyboard.press("Enter")
    await expect(visit.at(".column .answer").nth(1)).to_have_text("There are 14 apples.")
    outline = "() => getComputedStyle(document.activeElement).outlineStyle"
    await visit.page.keyboard.press("Tab")
    assert await visit.evaluate(outline) != "none"


async def test_every_control_has_a_name_and_headings_descend(visit: Visit) -> None:
    await visit.at("#compare").check()
    await visit.ask()
    await visit.see("#recent-list .facts:text('compared')")
    assert await visit.evaluate(_UNNAMED) == []
    levels = await visit.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4')]"
        ".filter((heading) => heading.checkVisibility()).map((heading) => Number(heading.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for role, name in (
        ("textbox", "Question"),
        ("spinbutton", "Latency budget optional"),
        ("combobox", "Execution"),
        ("checkbox", "Then ask smollm2-135m-instruct too"),
        ("button", "Ask"),
        ("region", QUESTION),
        ("region", "Recent questions"),
        ("img", "Timeline."),
        ("article", "The base model alone"),
    ):
        assert await visit.page.get_by_role(role, name=name, exact=role != "img").count() == 1, name  # type: ignore[arg-type]
    label = await visit.page.get_by_role("img").get_attribute("aria-label")
    assert label is not None
    assert "Layer 1: Generate 0.30 s; MultiGenerateCoT 0.43 s; Programmer 0.61 s, critical." in label


async def test_a_screen_reader_hears_the_start_the_team_and_the_end_and_little_else(
    replay: Replay, visit: Visit
) -> None:
    replay.speed = 2
    await visit.evaluate(
        "() => { window.heard = []; const status = document.getElementById('status');"
        "new MutationObserver(() => heard.push(status.textContent)).observe(status, {childList: true}); }"
    )
    await visit.ask()
    await visit.wait_for("done")
    assert await visit.evaluate("() => heard") == [
        "Asked.",
        "Team chosen: 4 operators in 2 layers.",
        "Answer ready in 1.00 s.",
    ]
    live = (
        "() => [...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map((n) => n.id)"
    )
    assert await visit.evaluate(live) == ["status", "alert"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_contrast_is_enough(replay: Replay, begin: Begin, scheme: Literal["light", "dark"]) -> None:
    visit = await begin(scheme=scheme)
    await visit.at("#budget").fill("1.2")
    await visit.at("#compare").check()
    await visit.ask()
    await visit.see("#recent-list .facts:text('compared')")
    await visit.at("summary").click()
    replay.speed = 0.2
    contrasts = await visit.evaluate(_CONTRASTS)
    await visit.ask("Slowly?")
    await visit.see(".lane.running")
    contrasts += await visit.evaluate(_CONTRASTS)
    await visit.page.keyboard.press("Escape")
    replay.refusal = (429, {}, "")
    await visit.wait_for("stopped")
    await visit.ask()
    await expect(visit.at("#notice")).to_be_visible()
    contrasts += await visit.evaluate(_CONTRASTS)
    assert len(contrasts) > 100
    assert [found for found in contrasts if found[2] < 4.5] == []
    ground = await visit.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) > 600) is (scheme == "light")


async def test_nothing_is_cut_off_on_a_narrow_screen(visit: Visit) -> None:
    await visit.at("#compare").check()
    await visit.ask("Unbreakable" * 12)
    await visit.see("#recent-list .facts:text('compared')")
    await visit.at("summary").click()
    for width in (1000, 480, 320):
        await visit.page.set_viewport_size({"width": width, "height": 700})
        assert await visit.evaluate("() => document.documentElement.scrollWidth") == width
        track = await visit.evaluate("() => document.querySelector('.track').getBoundingClientRect().width")
        assert track > width * 0.45
