"""What may go wrong with one HTTP request to a server, told as our errors.

Pure: an exception of the HTTP client or the facts of an answer go in, an error comes out. What
matters most to whoever gets it is `may_have_run`: a call is sent a second time only when the
first surely did not run.
"""

from __future__ import annotations

import re
import socket
import ssl
from urllib.request import getproxies

import httpx2

from mcp_notebook.auth.reply import retry_after
from mcp_notebook.errors import ConnectionFailedError, MCPNotebookError, RequestTimeoutError
from mcp_notebook.redaction import printable, redact

PASSING = frozenset({408, 429, 502, 503, 504})
"""Statuses that may be another a moment later (RFC 9110 §15.5.9, §15.6; RFC 6585 §4)."""

PAUSE = 0.3
"""Seconds before something that failed for the moment is tried again; doubled each time."""

_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title")
_TAG = re.compile(r"(?s)<(script|style).*?</\1\s*>|<[^>]*>")

_NOT_RUN = "It did not run: try again in a moment."

# The request was not sent whole, so nobody can have carried it out.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.WriteError,
    httpx2.WriteTimeout,
)


class SessionLostError(ConnectionFailedError):
    """The server has forgotten the session (MCP 2025-11-25, transports): nothing ran."""


class TooLargeError(ConnectionFailedError):
    """An answer is larger than the limit. The call ran."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"The answer of {name} is larger than {limit / 2**20:.4g} MiB and was not read to its "
            "end.",
            hint="Ask for less at a time (a page, a filter).",
            may_have_run=True,
        )


class ProgramError(ConnectionFailedError):
    """A program on this machine cannot be started, or ends at once: so it would the next time."""


def leaf(error: BaseException) -> BaseException:
    """Picks the one exception that says what happened out of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        ours = [item for item in error.exceptions if isinstance(item, MCPNotebookError)]
        error = ours[0] if ours else error.exceptions[0]
    return error


def passes(error: MCPNotebookError) -> bool:
    """Tells whether the same request may succeed a moment later."""
    if isinstance(error, RequestTimeoutError | TooLargeError | ProgramError):
        return False
    if isinstance(error, ConnectionFailedError):
        return error.status is None or error.status in PASSING
    return bool(getattr(error, "passing", False))


def pause(error: ConnectionFailedError, attempt: int, longest: float) -> float:
    """Returns how many seconds to wait before what failed is tried again.

    Args:
        error: What it failed with.
        attempt: How often it has failed in a row.
        longest: The longest wait a server may ask for.

    Raises:
        ConnectionFailedError: The same error, where the server asks for a longer wait.
    """
    if error.retry_after is None:
        return PAUSE * float(2 ** (attempt - 1))
    if error.retry_after > longest:
        raise error from None
    return error.retry_after


def of_exception(error: Exception, name: str, seconds: float) -> MCPNotebookError:
    """Returns what an exception of the HTTP client means.

    Args:
        error: What was raised on the way; an error of ours comes back as it is.
        name: The server.
        seconds: How long an answer was waited for.
    """
    if isinstance(error, MCPNotebookError):
        return error
    sent = not isinstance(error, _NOT_SENT)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError | httpx2.ProxyError):
        return _unreachable(error, name)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return RequestTimeoutError(
            f"{name} did not answer within {seconds:g} s.",
            hint="The call may still run on the server." if sent else _NOT_RUN,
            may_have_run=sent,
        )
    if isinstance(error, httpx2.DecodingError):
        return ConnectionFailedError(
            f"The answer of {name} cannot be decoded.",
            hint="A proxy in between may have spoiled it.",
            may_have_run=True,
        )
    return ConnectionFailedError(
        f"The connection to {name} broke off before the answer was complete."
        if isinstance(error, httpx2.TransportError)
        else f"The request to {name} failed: {type(error).__name__}.",
        hint="The call may have run on the server." if sent else _NOT_RUN,
        may_have_run=sent,
    )


def _unreachable(error: Exception, name: str) -> ConnectionFailedError:
    certificate = _in_chain(error, ssl.SSLCertVerificationError)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        problem = printable(certificate.verify_message or "it does not fit", 120)
        return ConnectionFailedError(
            f"The certificate of {name} is not trusted: {problem}.",
            hint="Behind a company's proxy, set SSL_CERT_FILE to its certificates.",
        )
    if _in_chain(error, socket.gaierror):
        return ConnectionFailedError(
            f"{name} cannot be reached: its host is not known.",
            hint="Is the network there, and the address right?",
        )
    if isinstance(error, httpx2.ProxyError):
        return ConnectionFailedError(
            f"{name} cannot be reached through the proxy.",
            hint="Look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
        )
    proxied = {"http", "https", "all"} & getproxies().keys()
    return ConnectionFailedError(
        f"{name} cannot be reached.",
        hint="Is it running, and the address right?"
        + (" Does the proxy let it through? Look at HTTPS_PROXY and NO_PROXY." if proxied else ""),
    )


def _in_chain(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, kind):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def of_status(response: httpx2.Response, text: str, name: str) -> ConnectionFailedError:
    """Returns what an answer with a status of 400 or more means.

    Args:
        response: The answer, for its status and headers.
        text: What it says, as the server wrote it.
        name: The server.
    """
    status, said = response.status_code, excerpt(text)
    wait = retry_after(response.headers)
    what, hint = _STATUSES.get(status, ("", ""))
    if not what:
        what = "has a fault" if status >= 500 else "refuses the request"
        hint = f"If it stays so, see where it is wrong with: %mcp doctor {name}"
    if wait is not None:
        hint = f"It asks to wait {wait:.0f} s."
    return ConnectionFailedError(
        f"{name} {what} (HTTP {status}){f': {said}' if said else '.'}",
        hint=hint,
        status=status,
        retry_after=wait,
        # A fault may strike after the work was done; a refusal comes before it.
        may_have_run=status >= 500 or status == 408,
    )


_PATH = (
    "Is the path of the address right? Most end in /mcp; those that end in /sse need "
    "--transport sse."
)
_STATUSES = {
    401: ("does not accept the credentials", "Look at the headers it is sent, or sign in again."),
    403: ("does not allow this", "The account may lack the right; ask whoever runs the server."),
    404: ("has nothing at this address", _PATH),
    405: ("has no MCP endpoint at this address", _PATH),
    413: ("finds the request too large", "Send less at a time."),
    429: ("asks to be called less often", "Wait a little."),
    502: ("is not reached by its gateway", "Try again in a moment."),
    503: ("is not available", "Try again in a moment."),
    504: ("does not answer its gateway", "Try again in a moment."),
}


def of_content(response: httpx2.Response, text: str, name: str) -> ConnectionFailedError:
    """Returns what an answer means that is no answer of an MCP server, such as a login page."""
    kind = printable(response.headers.get("content-type", "") or "nothing", 60)
    said = excerpt(text)
    return ConnectionFailedError(
        f"{name} answered with {kind} in place of MCP{f': {said}' if said else '.'}",
        hint="Is the path of the address right, and is there a login page (a captive portal, a "
        "company's proxy) in between?",
        status=response.status_code,
        may_have_run=True,
    )


def excerpt(text: str) -> str:
    """Returns the first words of an error page: its title, or its text without tags."""
    text = text[:4096]
    if "<" in text:
        title = _TITLE.search(text)
        text = title[1] if title else _TAG.sub(" ", text)
    return printable(redact(text))
