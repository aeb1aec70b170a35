"""A real browser for the tests of pages: Debian's chromium, driven by playwright.

A test asks for `open_page`, and skips where no browser is installed. While a module's
browser runs, its event loop is the main thread's, so nothing there may start another
(Orbax does): ask for `toy_run` in the module's first test.
"""

import dataclasses
import re
import shutil
import urllib.parse

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("127.0.0.1", "localhost")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_PROGRAMS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # Root, as which CI runs, has no sandbox.
        found = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


@dataclasses.dataclass
class Opener:
    """Opens pages, and notes what is wrong with them."""

    browser: sync_api.Browser
    problems: list[str] = dataclasses.field(default_factory=list)
    contexts: list[sync_api.BrowserContext] = dataclasses.field(default_factory=list)

    def __call__(
        self, size: str = "desk", scheme: str = "light", allowed: str = "^$", **options
    ) -> sync_api.Page:
        """An empty page.

        Args:
          size: of the window, see `SIZES`.
          scheme: "light" or "dark".
          allowed: pattern of console errors that the test provokes.
          **options: of a browser context.
        """
        width, height = SIZES[size]
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=size == "phone",
            color_scheme=scheme,
            reduced_motion="reduce",
            **options,
        )
        self.contexts.append(context)
        context.route("**/*", self._route)
        page = context.new_page()
        page.set_default_timeout(20_000)  # milliseconds
        page.on("console", lambda said: self._hear(said, re.compile(allowed)))
        page.on("pageerror", lambda error: self.problems.append(f"raised {error}"))
        return page

    def _route(self, route: sync_api.Route) -> None:
        url = urllib.parse.urlsplit(route.request.url)
        if url.scheme in ("file", "data") or url.hostname in _LOCAL:
            route.continue_()
            return
        self.problems.append(f"asked the network for {route.request.url}")
        route.abort()

    def _hear(self, said: sync_api.ConsoleMessage, allowed: re.Pattern) -> None:
        if said.type == "error" and not allowed.search(said.text):
            self.problems.append(f"console: {said.text}")


@pytest.fixture
def open_page(browser):
    """Opens pages; the test fails on console errors, and on use of the network."""
    opener = Opener(browser)
    yield opener
    for context in opener.contexts:
        context.close()
    assert not opener.problems


def sticks_out(page: sync_api.Page) -> list[str]:
    """The elements that a window of this width does not show whole."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          return [...document.querySelectorAll("body *")]
            .filter(e => e.getBoundingClientRect().right > width + 1)
            .map(e => e.outerHTML.slice(0, 200));
        }"""
    )


def barriers(page: sync_api.Page) -> list[str]:
    """What axe finds against WCAG 2.1 AA: names, labels, contrast, order."""
    options = {"runOnly": {"type": "tag", "values": _RULES}}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]
