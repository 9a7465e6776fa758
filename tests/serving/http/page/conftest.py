"""A browser for the whole session, and the page on a server that plays back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from bench.chromium import find_chromium, open_chromium
from tests.serving.http.page.replay import Replay, serve
from tests.serving.http.page.visit import Visit

Begin = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (apt install chromium): the page is not tested in a browser")
    async with open_chromium() as browser:
        yield browser


@pytest.fixture
def replay() -> Replay:
    """What the server will do; a test may change it before and while it runs."""
    return Replay()


@pytest.fixture
def address(replay: Replay) -> Iterator[str]:
    """Where the server is."""
    with serve(replay.app()) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="session")
async def begin(browser: Browser, address: str) -> AsyncIterator[Begin]:
    """Opens the page in a tab of its own, with `Visit.begin`'s options; closes it at the end."""
    visits: list[Visit] = []

    async def begin(**options: object) -> Visit:
        visits.append(await Visit.begin(browser, address, **options))  # type: ignore[arg-type]
        return visits[-1]

    yield begin
    for visit in visits:
        await visit.end()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(begin: Begin) -> AsyncIterator[Visit]:
    """The page as most people see it; nothing may go wrong in it."""
    visit = await begin()
    yield visit
    assert visit.errors == []
