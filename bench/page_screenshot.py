"""`python -m bench.page_screenshot`: asks a running server one question at its page, and keeps the picture."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import Error, expect

from bench.chromium import open_chromium
from lamas_local.cli import BAD_INPUT, RUN_FAILED

TIMEOUT_MS = 300_000


def main(argv: Sequence[str] | None = None) -> int:
    """Take the picture; without a browser, one sentence and status 2."""
    parser = argparse.ArgumentParser(prog="bench.page_screenshot", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="the running server (%(default)s)")
    parser.add_argument("--question", required=True, help="what to ask")
    parser.add_argument("--budget", metavar="SECONDS", default="", help="latency budget, none by default")
    parser.add_argument("--compare", action="store_true", help="ask the base model too")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light", help="%(default)s by default")
    parser.add_argument("--width", type=int, default=1040, help="of the window, in pixels (%(default)s)")
    parser.add_argument("--while-running", type=float, metavar="SECONDS", help="take it so long after asking")
    parser.add_argument("--output", type=Path, default=Path("docs/serving-page.png"), help="%(default)s")
    args = parser.parse_args(argv)
    try:
        asyncio.run(take(args))
    except FileNotFoundError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_INPUT
    except (Error, AssertionError) as error:
        print(f"{parser.prog}: no picture of {args.url}: {error}", file=sys.stderr)
        return RUN_FAILED
    print(f"{args.output}: {args.output.stat().st_size / 1000:.0f} kB")
    return 0


async def take(args: argparse.Namespace) -> None:
    """Ask, wait for the answer (or for a moment before it), and write the picture."""
    async with open_chromium() as browser:
        page = await browser.new_page(color_scheme=args.scheme, viewport={"width": args.width, "height": 600})
        await page.goto(args.url)
        await expect(page.locator("#server")).to_contain_text("Ready", timeout=TIMEOUT_MS)
        await page.locator("#question").fill(args.question)
        await page.locator("#budget").fill(args.budget)
        await page.locator("#compare").set_checked(args.compare)
        await page.locator("#question").press("Control+Enter")
        if args.while_running is not None:
            await asyncio.sleep(args.while_running)
        else:
            result = page.locator("#result")
            await expect(result).to_have_attribute("data-phase", "done", timeout=TIMEOUT_MS)
            if args.compare:
                await expect(page.locator("#recent-list .facts").first).to_contain_text("compared", timeout=TIMEOUT_MS)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=args.output, full_page=True)


if __name__ == "__main__":
    sys.exit(main())
