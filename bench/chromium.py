"""A headless Chromium of this machine, for looking at the server's page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# The sandbox of its own needs rights that containers rarely give; the page under test is ours. The others keep it
# from asking the network for anything but the page.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """Where the browser is, None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Browser]:
    """A browser, closed at the end.

    Raises:
        FileNotFoundError: no Chromium is installed.
    """
    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError(f"no Chromium: none of {', '.join(NAMES)} is on the PATH (apt install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
