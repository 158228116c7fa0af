"""The pages the browser sees at the end of a sign-in, as whole HTTP messages.

Self-contained: no script, no picture, no link, one style sheet that the content security policy
names by its hash. Whatever comes from outside is cut to a harmless line and escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass, field
from http import HTTPStatus

from mcp_notebook.redaction import printable

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;background:light-dark(#f5f6f8,"
    "#16181d);color:light-dark(#1c2024,#e8eaed);font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:26rem;margin:1rem;padding:2rem 2.25rem;border-radius:14px;"
    "background:light-dark(#fff,#20242b);box-shadow:0 1px 3px #0002,0 8px 30px #0001}"
    "h1{margin:0 0 .5rem;font-size:1.3rem;line-height:1.3}p{margin:.5rem 0 0}"
    "small{color:light-dark(#626a73,#9aa3ad)}"
    ".good h1::before{content:'✓ ';color:#1a9c52}.bad h1::before{content:'✕ ';color:#d5453b}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    f"form-action 'none'; style-src 'sha256-{_STYLE_HASH}'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cache-Control: no-store\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Connection: close\r\n"
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to the browser.

    Attributes:
        status: The HTTP status.
        title: One line.
        text: A sentence or two.
        mood: ``good``, ``bad`` or nothing.
        location: Where to send the browser instead of showing the page.
    """

    status: HTTPStatus
    title: str
    text: str
    mood: str = ""
    location: str | None = field(default=None, repr=False)

    def message(self, server: str) -> bytes:
        """Returns the page as an HTTP/1.1 message that ends the connection.

        Args:
            server: The name of the server the sign-in is for.
        """
        title = html.escape(printable(self.title, 120))
        text = html.escape(printable(self.text, 400))
        body = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
            f'<main class="{self.mood}"><h1>{title}</h1><p>{text}</p>'
            f"<p><small>mcp_notebook · {html.escape(printable(server, 64))}</small></p></main>"
            "</html>"
        ).encode()
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{_HEADERS}"
            f"Content-Length: {len(body)}\r\n"
        )
        if self.status is HTTPStatus.METHOD_NOT_ALLOWED:
            head += "Allow: GET\r\n"
        if self.location is not None:
            head += f"Location: {self.location}\r\n"
        return f"{head}\r\n".encode("latin-1") + body


BACK = "You can close this tab and go back to your notebook."

ANSWERED = Page(
    HTTPStatus.CONFLICT, "This sign-in has been answered", f"Nothing was changed. {BACK}"
)
UNDECIDED = Page(
    HTTPStatus.OK,
    "Your notebook has the answer",
    f"It tells there how the sign-in ends. {BACK}",
)


def refusal(status: HTTPStatus, reason: str = "") -> Page:
    """Returns the page for a request that is not the answer; the sign-in goes on."""
    text = f"{reason} Your notebook goes on waiting; open its link once more if need be."
    return Page(status, "This is not the answer your notebook waits for", text.strip(), "bad")
