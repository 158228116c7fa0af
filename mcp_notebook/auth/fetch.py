"""The one HTTP client of OAuth errands: discovery, registration, tokens, revocation.

It lives for one errand and carries nothing of its own: no cookies, no ``.netrc``, no credentials
but those a caller hands to one request. Whatever the other side does, an answer is over after
`DEADLINE` seconds and `MAX_BYTES` decoded bytes. Every request leaves a `Step` for ``%mcp doctor``.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpcore2
import httpx2

from mcp_notebook._version import USER_AGENT
from mcp_notebook.auth.metadata import Step
from mcp_notebook.auth.reply import (
    MAX_BYTES,
    Reply,
    TooLongError,
    judge,
    read_body,
    retry_after,
)
from mcp_notebook.auth.route import Guard, Route
from mcp_notebook.config.urls import check_web_address, host_of, origin, shown
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import printable

__all__ = ["DEADLINE", "PAUSES", "Fetch", "Reply", "TooSlowError", "retry_after"]

DEADLINE = 10.0
"""Seconds from the start of a request to the end of its answer, redirects included."""

PAUSES = (0.3, 0.9)
"""Seconds before a document is asked for once more, where the server has a passing trouble."""

_MAX_REDIRECTS = 3
_CORE_FAULTS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
)
_TRY_LATER = "Nothing was lost: try again when it answers."


class Fetch:
    """An errand's HTTP client: ``async with Fetch(server.url) as fetch``.

    Args:
        server_url: The MCP server on whose behalf it goes.
        insecure: The person allowed plain http to other machines for this server.
        trusted: Addresses a person has named, whose hosts may be on a private network.

    Attributes:
        steps: What was asked so far; holds no secrets.
    """

    def __init__(
        self, server_url: str, *, insecure: bool = False, trusted: Iterable[str] = ()
    ) -> None:
        self.steps: list[Step] = []
        self._server_url = server_url
        self._insecure = insecure
        self._guard = Guard(server_url, trusted)
        self._client = httpx2.AsyncClient(
            transport=Route(self._guard),
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                # A compressed answer can grow a thousandfold; OAuth's documents are small.
                "Accept-Encoding": "identity",
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=DEADLINE,
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def check(self, url: str, *, what: str) -> None:
        """Checks an address from metadata that is not asked now, or not by us.

        Raises:
            AuthorizationServerError: It may not be used.
        """
        check_web_address(url, server_url=self._server_url, insecure=self._insecure, what=what)
        await self._guard.check_literal(url, what=what)

    async def get(
        self, url: str, *, what: str, rfc: str, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Asks for a document. Up to three redirects on the same origin are followed.

        Args:
            url: The address.
            what: What it is, for messages, such as ``"authorization server metadata"``.
            rfc: Where it is specified, for ``%mcp doctor``.
            headers: Further headers for this request.

        Raises:
            AuthorizationServerError: The address may not be used, nobody answers, or the answer
                is too long or too slow. A status of any kind is an answer.
        """
        async with self._clock(url, what):
            for _ in range(_MAX_REDIRECTS):
                reply = await self._send("GET", url, what=what, rfc=rfc, headers=headers)
                target = self._redirect(reply)
                if target is None:
                    return reply
                url = target
            return await self._send("GET", url, what=what, rfc=rfc, headers=headers)

    async def document(self, url: str, *, what: str, rfc: str) -> Reply:
        """Asks for a document like `get`, and up to twice more where the trouble may pass."""
        for pause in PAUSES:
            try:
                reply = await self.get(url, what=what, rfc=rfc)
            except AuthorizationServerError as error:
                if not error.passing or isinstance(error, TooSlowError):
                    raise
                wait = pause
            else:
                wait = pause if reply.retry_after is None else reply.retry_after
                if not reply.passing or wait > DEADLINE:
                    return reply
            await asyncio.sleep(wait)
        return await self.get(url, what=what, rfc=rfc)

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        what: str,
        rfc: str,
    ) -> Reply:
        """Posts a form; the answer may be a form too. Raises like `get`; follows no redirect."""
        async with self._clock(url, what):
            return await self._send("POST", url, what=what, rfc=rfc, headers=headers, form=fields)

    async def post_json(
        self,
        url: str,
        document: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        what: str,
        rfc: str,
    ) -> Reply:
        """Posts a JSON object. Raises like `get`; follows no redirect."""
        async with self._clock(url, what):
            return await self._send("POST", url, what=what, rfc=rfc, headers=headers, data=document)

    def remark(self, *, found: str = "", problem: str = "", fix: str = "") -> None:
        """Adds to the last step what the answer turned out to be."""
        last = self.steps[-1]
        self.steps[-1] = replace(
            last,
            found=found or last.found,
            problem=problem or last.problem,
            fix=fix or last.fix,
        )

    @asynccontextmanager
    async def _clock(self, url: str, what: str) -> AsyncIterator[None]:
        """Bounds a request in time, and makes this package's errors of all that goes wrong."""
        try:
            async with asyncio.timeout(DEADLINE):
                yield
        except AuthorizationServerError as error:
            told = error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TooLongError, zlib.error) as error:
            told = _translated(error, host_of(url) or "The server", what)
        except _CORE_FAULTS as error:
            told = _translated(error, host_of(url) or "The server", what)
        else:
            return
        if self.steps:
            self.remark(problem=told.message, fix=told.hint)
        raise told from None

    def _redirect(self, reply: Reply) -> str | None:
        location = reply.headers.get("location")
        if reply.status not in {301, 302, 303, 307, 308} or not location:
            return None
        try:
            target = str(httpx2.URL(reply.address).join(location))
            same = origin(target) == origin(reply.address)
        except (httpx2.InvalidURL, ValueError):
            return None
        if not same:
            self.remark(problem=f"redirects to another host ({host_of(target)}), not followed")
        return target if same else None

    async def _send(
        self,
        method: str,
        url: str,
        *,
        what: str,
        rfc: str,
        headers: Mapping[str, str] | None,
        form: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Reply:
        self.steps.append(
            Step(what=what, rfc=rfc, method=method, address=shown(url), status=None, found="")
        )
        check_web_address(url, server_url=self._server_url, insecure=self._insecure, what=what)
        request = self._client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            data=None if form is None else dict(form),
            json=None if data is None else dict(data),
        )
        response = await self._client.send(request, stream=True)
        try:
            self.steps[-1] = replace(self.steps[-1], status=response.status_code)
            body = await read_body(response)
        finally:
            await response.aclose()
        reply = judge(response, body, url, form_allowed=form is not None)
        if reply.problem and reply.status == 200:
            self.remark(problem=f"the answer {reply.problem}")
        return reply


class TooSlowError(AuthorizationServerError):
    """The answer did not end in time."""


def _translated(error: Exception, host: str, what: str) -> AuthorizationServerError:
    if isinstance(error, (TimeoutError, httpx2.TimeoutException, httpcore2.TimeoutException)):
        return TooSlowError(
            f"{host} did not answer within {DEADLINE:.0f} s ({what}).",
            hint=_TRY_LATER,
            passing=True,
        )
    if isinstance(error, TooLongError):
        return AuthorizationServerError(
            f"The answer of {host} is longer than {MAX_BYTES // 1024} KiB ({what}).",
            hint="No OAuth document is that long; ask who runs it.",
        )
    if isinstance(error, (httpx2.DecodingError, zlib.error)):
        return AuthorizationServerError(
            f"The answer of {host} cannot be decoded ({what}).",
            hint="Ask who runs it; a proxy in between may have spoiled it.",
        )
    if certificate := _certificate_problem(error):
        return AuthorizationServerError(
            f"The certificate of {host} is not trusted: {certificate}.",
            hint="Behind a company's proxy, set SSL_CERT_FILE to its certificates.",
        )
    return AuthorizationServerError(
        f"{host} cannot be reached ({what}).", hint=_TRY_LATER, passing=True
    )


def _certificate_problem(error: BaseException) -> str:
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, ssl.SSLCertVerificationError):
            return printable(seen.verify_message or "it does not fit", 120)
        seen = seen.__cause__ or seen.__context__ if seen is not None else None
    return ""
