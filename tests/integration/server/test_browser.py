"""Every page in a real browser: what must be there is there, nothing breaks the policy, and events appear by themselves.

Skipped where there is no chromium, unless `CI` is set; `tools/browser.py` installs one where it can.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from playwright.async_api import Browser, Page, async_playwright
from tests.integration.server.conftest import Site

from omninode.core.events import RunStarted
from omninode.core.ids import uuid7

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Where a page is, and what somebody who opens it must find.
PAGES = {
    "/": ("Success of runs", "Throughput", "Alerts", "error rate", "Phases of a run", "Resources", "CPU"),
    "/runs": ("failed tasks", "SIMULATED", "Older", "showing 50 of 90"),
    "/runs/{run}": ("Timeline", "Votes", "no task covers the tests", "speed-up", "critical path", "skipped"),
    "/agents?range=30d": ("reviewer", "Recommended by task type", "research", "succeeded"),
    "/reliability": ("half open", "Attempts a call", "fallback", "Rows the database refused", "claude-sonnet-4-5"),
    "/errors?range=30d": ("AttemptTimeoutError", "retryable", "grouped by fingerprint"),
    "/errors/13c1f00d5eedbeef?range=30d": ("What sets it apart", "Samples", "routing.router:_attempt"),
    "/trends?range=7d": ("Changes of level", "Run time", "Calls failed", "Memory"),
    "/cost?range=7d": ("qwen3:14b", "unpriced", "By agent", "By day", "planner"),
    "/settings": ("BATCH_OPERATION_SIZE", "This process"),
}


@dataclass
class Visit:
    """A page with everything it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        reason = "no chromium; run `python tools/browser.py` as root"
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield opened
        finally:
            await opened.close()


async def visit(browser: Browser, *, scheme: str = "light", width: int = 1280) -> Visit:
    page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    made = Visit(page)
    # A broken policy is reported on the console as an error.
    page.on("console", lambda told: made.complaints.append(told.text) if told.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("requestfailed", lambda request: made.complaints.append(f"{request.url}: {request.failure}"))
    return made


def is_end_of_stream(complaint: str) -> bool:
    """Leaving a page ends its stream, which the browser counts as a failed request."""
    return "/live" in complaint and "ERR_ABORTED" in complaint


async def test_every_page_shows_what_it_is_for(site: Site, browser: Browser, rich_run: UUID) -> None:
    seen = await visit(browser)
    for path, expected in PAGES.items():
        await seen.page.goto(site.url + path.format(run=rich_run))
        main = seen.page.locator("body")
        text = " ".join((await main.inner_text()).split())
        for words in expected:
            assert words.lower() in text.lower(), f"{path}: {words!r} is not there"
        assert await seen.page.locator("h1").count() == 1
        await seen.page.locator("#live[data-state=live]").wait_for()
        wide = await seen.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wide, f"{path} is wider than the window"
    assert [complaint for complaint in seen.complaints if not is_end_of_stream(complaint)] == []


async def test_charts_are_drawn_from_their_tables(site: Site, browser: Browser) -> None:
    seen = await visit(browser)
    await seen.page.goto(f"{site.url}/trends?range=7d")
    charts = await seen.page.locator("figure[data-chart]").count()
    assert charts >= 8
    if await seen.page.get_by_text("Front end not built.").count():
        pytest.skip("the front end was not built (OMNINODE_SKIP_WEB)")
    await seen.page.locator("figure[data-chart] canvas").nth(charts - 1).wait_for()
    assert await seen.page.locator("figure[data-chart] canvas").count() == charts
    rows = await seen.page.locator("#twin-calltime tbody tr").count()
    assert rows >= 84
    assert "s" in await seen.page.locator("figure[data-part=chart-calltime] .legend b").first.inner_text()


async def test_the_waterfall_is_drawn_and_read_with_the_keyboard(site: Site, browser: Browser, rich_run: UUID) -> None:
    seen = await visit(browser)
    await seen.page.goto(f"{site.url}/runs/{rich_run}")
    view = seen.page.locator("#waterfall")
    # The script makes room for all rows once it has the spans.
    await seen.page.locator("#waterfall > div").wait_for(state="attached")
    colors = await seen.page.evaluate(
        """() => { const c = document.querySelector('#waterfall canvas');
        const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        const found = new Set();
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add(`${data[i]},${data[i+1]},${data[i+2]}`);
        return found.size; }"""
    )
    assert colors > 8
    await view.focus()
    await view.press("ArrowDown")
    tip = seen.page.locator("#tip")
    assert "input validation" in await tip.inner_text()
    await view.press("ArrowDown")
    assert "context gathering" in await tip.inner_text()
    assert "took" in await tip.inner_text()
    await view.press("Escape")
    assert await tip.is_hidden()
    assert [complaint for complaint in seen.complaints if not is_end_of_stream(complaint)] == []


async def test_an_event_appears_without_reload(site: Site, browser: Browser) -> None:
    seen = await visit(browser)
    await seen.page.goto(site.url)
    await seen.page.locator("#live[data-state=live]").wait_for()
    await seen.page.evaluate("window.stayed = true")
    prompt = "<img src=x onerror=alert(1)> water the plants"
    site.node.bus.emit(RunStarted(run_id=uuid7(), prompt=prompt, is_simulated=True))
    entry = seen.page.locator("#feed li", has_text="water the plants")
    await entry.wait_for()
    assert prompt in await entry.inner_text()
    assert "SIMULATED" in await entry.inner_text()
    assert await seen.page.locator("#feed img").count() == 0
    assert await seen.page.evaluate("window.stayed") is True
    assert [complaint for complaint in seen.complaints if not is_end_of_stream(complaint)] == []


async def test_dark_and_small_screens_are_served_too(site: Site, browser: Browser) -> None:
    seen = await visit(browser, scheme="dark", width=390)
    for path in ("/", "/runs", "/reliability", "/cost"):
        await seen.page.goto(site.url + path)
        assert await seen.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert await seen.page.evaluate("document.documentElement.scrollWidth <= 390"), path
    await seen.page.locator("[data-action=theme]").click()
    assert await seen.page.evaluate("document.documentElement.dataset.theme") == "light"
    await seen.page.reload()
    assert await seen.page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_enough_contrast(
    site: Site, browser: Browser, rich_run: UUID, scheme: str
) -> None:
    seen = await visit(browser, scheme=scheme)
    for path in ("/", "/runs", f"/runs/{rich_run}", "/agents?range=30d", "/reliability", "/cost"):
        await seen.page.goto(site.url + path)
        nameless = await seen.page.evaluate(
            """() => [...document.querySelectorAll('a, button, [role=img], [role=region], [tabindex="0"], nav, section')]
            .filter((part) => !part.textContent.trim() && !part.getAttribute('aria-label')
                && !part.getAttribute('aria-labelledby')).map((part) => part.outerHTML.slice(0, 120))"""
        )
        assert nameless == [], path
        assert await seen.page.evaluate(_CONTRASTS) == [], path


# WCAG contrast of every visible text against the nearest painted ground, below 4.5 (3 for large text).
_CONTRASTS = """() => {
  const parse = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => { const f = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (part) => { for (; part; part = part.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(part).backgroundColor); if (a > 0.95) return [r, g, b]; }
    return [255, 255, 255]; };
  const bad = new Set();
  for (const part of document.querySelectorAll('main *, .side *, .top *')) {
    if (!part.checkVisibility() || ![...part.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(part);
    if (!style.color.startsWith('rgb')) continue;
    const [one, two] = [light(parse(style.color)), light(ground(part))].sort((a, b) => b - a);
    const needed = parseFloat(style.fontSize) >= 18.5 ? 3 : 4.5;
    if ((one + 0.05) / (two + 0.05) < needed) bad.add(`${part.className}: ${part.textContent.trim().slice(0, 30)}`);
  }
  return [...bad];
}"""
