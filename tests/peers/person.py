"""A person with a browser: opens the link, reads the consent page, clicks, is sent back.

python -m tests.peers.person URL [approve|deny]
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from typing import Literal
from urllib.parse import urljoin, urlsplit

import httpx2

Decision = Literal["approve", "deny"]
NAVIGATION = {"accept": "text/html", "sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}


class _Form(HTMLParser):
    """The first form of a page: where it goes, and its hidden fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = values.get("action") or ""
        if tag == "input" and values.get("type") == "hidden":
            self.fields[values.get("name") or ""] = values.get("value") or ""


def visit(url: str, decision: Decision = "approve", *, timeout: float = 20) -> str:
    """Walks from a sign-in link to the end and gives the last page's text."""
    with _browser(timeout) as browser:
        return _walk(browser, url, decision).text


def callback_url(url: str, decision: Decision = "approve", *, timeout: float = 20) -> str:
    """Walks as `visit` does but stops before the callback, and gives the URL it would open.

    That is what stands in the address bar of a browser on another machine than the kernel.
    """
    home = urlsplit(url).netloc
    with _browser(timeout) as browser:
        response = _walk(browser, url, decision, stay_at=home)
    return urljoin(str(response.url), response.headers["location"])


def _browser(timeout: float) -> httpx2.Client:
    # trust_env: no proxy stands between a browser and the callback of its own machine
    return httpx2.Client(trust_env=False, timeout=timeout, headers=NAVIGATION)


def _walk(
    browser: httpx2.Client, url: str, decision: Decision, stay_at: str | None = None
) -> httpx2.Response:
    response = browser.get(url)
    for _ in range(10):
        if response.is_redirect:
            target = urljoin(str(response.url), response.headers["location"])
            if stay_at is not None and urlsplit(target).netloc != stay_at:
                return response
            response = browser.get(target)
            continue
        form = _Form(response.text)
        if form.action is None:
            return response
        response = browser.post(
            urljoin(str(response.url), form.action), data=form.fields | {"decision": decision}
        )
    raise RuntimeError("the pages never end")


if __name__ == "__main__":
    choice: Decision = "deny" if sys.argv[2:] == ["deny"] else "approve"
    print(visit(sys.argv[1], choice))
