"""A person at the page: what they do, what they see, and what the browser had to complain of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Locator, Page

QUESTION = "How many apples are there?"


@dataclass
class Visit:
    """One tab on the page."""

    page: Page
    context: BrowserContext
    address: str
    errors: list[str] = field(default_factory=list)
    """Of the console, and exceptions nobody caught."""
    hosts: set[str] = field(default_factory=set)
    """Everything the browser asked."""

    @classmethod
    async def begin(
        cls,
        browser: Browser,
        address: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        motion: Literal["reduce", "no-preference"] = "no-preference",
        width: int = 1200,
    ) -> Visit:
        """Open the page and wait until it knows its server."""
        context = await browser.new_context(
            color_scheme=scheme, reduced_motion=motion, viewport={"width": width, "height": 900}, locale="en-GB"
        )
        visit = cls(await context.new_page(), context, address)
        visit.page.set_default_timeout(20_000)
        visit.page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
        await visit.page.goto(address)
        await visit.see("#server:not(:text('Connecting'))")
        return visit

    def at(self, selector: str) -> Locator:
        """What a CSS selector finds."""
        return self.page.locator(selector)

    async def ask(self, question: str = QUESTION) -> None:
        """Write the question and send it from the keyboard."""
        await self.at("#question").fill(question)
        await self.at("#question").press("Control+Enter")

    async def wait_for(self, phase: str) -> None:
        """Wait until the shown run is in this phase."""
        await self.see(f"#result[data-phase={phase}]")

    async def see(self, selector: str) -> None:
        """Wait until something that a CSS selector finds is to be seen."""
        await self.at(selector).first.wait_for()

    async def texts(self, selector: str) -> list[str]:
        """The text of everything a selector finds, in order."""
        return ["".join(text.split("\n")) for text in await self.at(selector).all_inner_texts()]

    async def evaluate(self, script: str) -> Any:
        """What a script finds out in the page."""
        return await self.page.evaluate(script)

    async def end(self) -> None:
        """Close the tab. The page asked nobody but its own server."""
        await self.context.close()
        assert self.hosts == {urlsplit(self.address).netloc}
