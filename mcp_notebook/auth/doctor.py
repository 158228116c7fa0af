"""Goes through everything a sign-in needs, one step after the other, and says what is wrong.

It looks and changes nothing: no client is registered, no sign-in opened, no token sent or renewed,
and no secret is in what it tells. The server is asked without a token, so it works before any
sign-in and shows what a stranger would get.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from mcp_notebook.auth.challenge import bearer_challenge
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.discovery import discover
from mcp_notebook.auth.environment import private_key_from, secret_from
from mcp_notebook.auth.fetch import Fetch, Reply
from mcp_notebook.auth.metadata import Challenge, Discovery, Step
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.config import catalog
from mcp_notebook.config.servers import OAuthSettings, Server, address_of, request_headers
from mcp_notebook.config.urls import host_of, shown
from mcp_notebook.errors import (
    AuthorizationServerError,
    MCPNotebookError,
    ServerConfigError,
    TokenStoreError,
)
from mcp_notebook.redaction import printable

# Any request tells whether a sign-in is asked for; this one opens nothing on the server.
_KNOCK = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
_NO_PERSON = frozenset({"client_credentials", "jwt_bearer", "enterprise"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, in the order it was looked at.

    Attributes:
        server: The server's name.
        steps: Each request and each check.
        verdict: What it comes to, one sentence.
        fix: What to do next; empty where there is nothing to do.
        healthy: Whether a sign-in is there or could be made.
    """

    server: str
    steps: tuple[Step, ...]
    verdict: str
    fix: str = ""
    healthy: bool = True

    @property
    def rows(self) -> list[dict[str, str]]:
        """The steps as rows of plain text, for a table."""
        return [
            {
                "step": step.what,
                "source": step.rfc,
                "asked": f"{step.method} {step.address}".strip(),
                "answer": "" if step.status is None else str(step.status),
                "found": step.found,
                "problem": step.problem,
                "fix": step.fix,
            }
            for step in self.steps
        ]

    @property
    def text(self) -> str:
        """The whole report as plain text."""
        lines: list[str] = []
        for step in self.steps:
            source = f" ({step.rfc})" if step.rfc else ""
            lines.append(f"{'✗' if step.problem else '✓'} {step.what}{source}")
            asked = " ".join(
                item for item in (step.method, step.address, str(step.status or "")) if item
            )
            told = (asked, step.found, step.problem, f"→ {step.fix}" if step.fix else "")
            lines += [f"    {line}" for line in told if line]
        lines += ["", self.verdict]
        if self.fix:
            lines.append(f"→ {self.fix}")
        return "\n".join(lines)


async def examine(server: Server, credentials: Credentials) -> Report:
    """Looks at everything a sign-in to a server needs.

    Args:
        server: The server.
        credentials: Whose stored sign-in is looked at; it is neither sent nor renewed.

    Raises:
        ServerConfigError: The server is a program; there is nothing to sign in to.
    """
    if server.transport == "stdio":
        raise ServerConfigError(
            f"{server.name} is a program on this machine; there is nothing to sign in to.",
            hint=f"See what it says when it starts: %mcp connect {server.name}",
        )
    examination = _Examination(server, credentials)
    async with credentials.fetch() as fetch:
        return await examination.run(fetch)


class _Examination:
    def __init__(self, server: Server, credentials: Credentials) -> None:
        self._server = server
        self._credentials = credentials
        self._checks: list[Step] = []

    async def run(self, fetch: Fetch) -> Report:
        record = await self._stored()
        try:
            challenge, asked = await self._knock(fetch)
            if not asked:
                return self._report(fetch, f"{self._server.name} answers without a sign-in.")
            issuer = record.issuer if record else None
            found = await discover(fetch, self._server, challenge, prefer_issuer=issuer)
        except MCPNotebookError as error:
            fix = catalog.advice(self._server, error) or error.hint
            if fetch.steps and isinstance(error, AuthorizationServerError):
                fetch.remark(problem=fetch.steps[-1].problem or error.message, fix=fix)
            return self._report(fetch, error.message, fix, healthy=False)
        self._check("what the server asks for", lambda: self._demands(found), rfc="RFC 9728 §2")
        self._check("settings", lambda: self._settings(found))
        self._check("client", lambda: self._client(found, record), rfc="RFC 7591")
        self._check("stored sign-in", lambda: self._sign_in(found, record))
        return self._judge(fetch, record, found)

    async def _knock(self, fetch: Fetch) -> tuple[Challenge | None, bool]:
        """Asks the server without a token; tells whether it asks for a sign-in, and how."""
        reply = await self._ask(fetch)
        if reply is None:
            return None, False
        challenge = bearer_challenge(reply.headers)
        if reply.status == 401 or (reply.status == 403 and challenge is not None):
            address = challenge.resource_metadata if challenge else None
            fetch.remark(
                found=f"asks for a sign-in, metadata at {shown(address)}"
                if address
                else "asks for a sign-in and names no metadata"
            )
            return challenge, True
        problem = _knock_problem(self._server, reply)
        if problem is not None:
            fetch.remark(problem=problem.message, fix=problem.hint)
            raise problem
        fetch.remark(found="asks for no sign-in")
        return None, False

    async def _ask(self, fetch: Fetch) -> Reply | None:
        headers = {
            **request_headers(self._server, os.environ),
            "Accept": "application/json, text/event-stream",
        }
        url, what, rfc = address_of(self._server, os.environ), "the server", "RFC 6750 §3"
        try:
            if self._server.transport == "sse":
                return await fetch.get(url, what=what, rfc=rfc, headers=headers)
            return await fetch.post_json(url, _KNOCK, what=what, rfc=rfc, headers=headers)
        except AuthorizationServerError:
            if fetch.steps and fetch.steps[-1].status == 200:
                # An event stream has begun and does not end: it is open to everybody.
                fetch.steps[-1] = replace(fetch.steps[-1], problem="", fix="")
                fetch.remark(found="asks for no sign-in")
                return None
            raise

    async def _stored(self) -> TokenRecord | None:
        try:
            return await self._credentials.load(fresh=True)
        except TokenStoreError as error:
            self._checks.append(_step("token store", problem=error.message, fix=error.hint))
            return None

    def _check(self, what: str, look: Callable[[], str], *, rfc: str = "") -> None:
        try:
            self._checks.append(_step(what, rfc=rfc, found=look()))
        except MCPNotebookError as error:
            fix = catalog.advice(self._server, error) or error.hint
            self._checks.append(_step(what, rfc=rfc, problem=error.message, fix=fix))

    def _demands(self, found: Discovery) -> str:
        scopes = self._server.oauth.scope or " ".join(found.resource.scopes_supported or ())
        said = [f"scopes: {scopes}" if scopes else "no scopes", *found.notes]
        if found.resource.dpop_bound:
            if self._server.oauth.dpop is False:
                raise ServerConfigError(
                    f"{self._server.name} takes only tokens that are bound to a key.",
                    hint=f"Leave --dpop off out: {_add(self._server)}",
                )
            said.append("tokens have to be bound to a key (RFC 9449)")
        return "; ".join(printable(item, 400) for item in said)

    def _settings(self, found: Discovery) -> str:
        oauth, there = self._server.oauth, found.authorization_server
        names = _check_variables(oauth)
        if oauth.grant == "device_code" and there.device_authorization_endpoint is None:
            raise ServerConfigError(
                f"{host_of(there.issuer)} offers no sign-in by a code on another device.",
                hint=f"Add the server without --grant: {_add(self._server)}",
            )
        variables = f"; variables that are set: {', '.join(names)}" if names else ""
        return f"grant {oauth.grant}{variables}"

    def _client(self, found: Discovery, record: TokenRecord | None) -> str:
        oauth, there = self._server.oauth, found.authorization_server
        host = host_of(there.issuer)
        if oauth.client_id:
            return f"the client {printable(oauth.client_id, 60)} that you registered"
        if oauth.grant in _NO_PERSON:
            raise ServerConfigError(
                f"The grant {oauth.grant} needs a client that is registered already.",
                hint=f"Register one with {host}, then: {_add(self._server)} --client-id ID",
            )
        if record is not None and record.issuer == there.issuer and record.registration == "dcr":
            return f"registered with {host} (dcr, {record.auth_method})"
        if oauth.client_metadata_url and there.client_id_metadata_document_supported:
            return f"the metadata document {shown(oauth.client_metadata_url)}"
        if there.registration_endpoint is None:
            raise AuthorizationServerError(
                f"{host} lets no client register itself.",
                hint=f"Register an application with its operator, then: {_add(self._server)} "
                "--client-id ID --client-secret",
            )
        return f"will register itself at {shown(there.registration_endpoint)}"

    def _sign_in(self, found: Discovery, record: TokenRecord | None) -> str:
        name, there = self._server.name, found.authorization_server
        if record is None:
            return "none yet"
        if record.issuer and record.issuer != there.issuer:
            raise AuthorizationServerError(
                f"The stored sign-in belongs to {host_of(record.issuer)}, and the server now names "
                f"{host_of(there.issuer)}.",
                hint=f"If that is right: %mcp sign-out {name}, then %mcp connect {name}",
            )
        if record.access_token is None:
            return "signed out; the client is still registered"
        if record.expires_within(0) and record.refresh_token is None:
            raise AuthorizationServerError(
                f"The stored sign-in has expired {_when(record.expires_at)} and cannot be renewed.",
                hint=f"Sign in again: %mcp sign-in {name}",
            )
        renewal = "can be renewed" if record.refresh_token else "cannot be renewed"
        scope = f", granted: {printable(record.scope, 300)}" if record.scope else ""
        return (
            f"by {host_of(record.issuer)}, valid until {_when(record.expires_at)}, {renewal}{scope}"
        )

    def _judge(self, fetch: Fetch, record: TokenRecord | None, found: Discovery) -> Report:
        self._note_store()
        name = self._server.name
        wrong = next((step for step in self._checks if step.problem), None)
        if wrong is not None:
            return self._report(fetch, wrong.problem, wrong.fix, healthy=False)
        if record is not None and record.access_token:
            return self._report(fetch, f"{name} is signed in.", f"%mcp connect {name}")
        host = host_of(found.authorization_server.issuer)
        return self._report(
            fetch, f"{name} is ready for a sign-in with {host}.", f"%mcp connect {name}"
        )

    def _note_store(self) -> None:
        store = self._credentials.keeper.describe()
        lasting = "survive a restart" if store.survives else "end with this kernel"
        said = f"sign-ins are kept in {store.where} and {lasting}"
        # A store that ends with the kernel is a choice or a pity, but no obstacle to a sign-in.
        self._checks.append(
            _step("token store", found=f"{said}. {store.problem}" if store.problem else said)
        )

    def _report(self, fetch: Fetch, verdict: str, fix: str = "", *, healthy: bool = True) -> Report:
        return Report(
            server=self._server.name,
            steps=(*fetch.steps, *self._checks),
            verdict=verdict,
            fix=fix,
            healthy=healthy,
        )


def _knock_problem(server: Server, reply: Reply) -> AuthorizationServerError | None:
    """Returns what is wrong with an answer that asks for no sign-in, where something is."""
    host = host_of(server.url)
    if 300 <= reply.status < 400:
        target = shown(reply.headers.get("location", ""))
        return AuthorizationServerError(
            f"{host} sends on to another address, {target}.",
            hint=f"If that is the server's own: %mcp add {server.added_as} {target} --replace",
        )
    if reply.status == 403:
        return AuthorizationServerError(
            f"{host} refuses the request (403) and asks for no sign-in: {reply.text[:200]}",
            hint="A firewall, or a key it expects in a header: --header X-Api-Key='${NAME}'.",
            status=403,
        )
    if reply.status in {404, 405, 410}:
        return AuthorizationServerError(
            f"There is no MCP server at this address ({reply.status}).",
            hint="Most end in /mcp; those that end in /sse need --transport sse.",
            status=reply.status,
        )
    if reply.passing:
        return AuthorizationServerError(
            f"{host} has trouble at present: it answered {reply.status}.",
            hint="Try again in a while.",
            status=reply.status,
            passing=True,
        )
    return None


def _check_variables(oauth: OAuthSettings) -> list[str]:
    """Returns the variables with secrets that the settings name; each has to be set."""
    named = {
        "client secret": oauth.client_secret_env,
        "initial access token": oauth.initial_access_token_env,
        "assertion": oauth.assertion_env,
        "ID token": oauth.idp_id_token_env,
    }
    found = []
    for what, variable in named.items():
        if variable:
            secret_from(variable, what)
            found.append(variable)
    if oauth.private_key_env:
        private_key_from(oauth.private_key_env)
        found.append(oauth.private_key_env)
    return found


def _step(what: str, *, rfc: str = "", found: str = "", problem: str = "", fix: str = "") -> Step:
    return Step(
        what=what,
        rfc=rfc,
        method="",
        address="",
        status=None,
        found=found,
        problem=problem,
        fix=fix,
    )


def _add(server: Server) -> str:
    return f"%mcp add {server.added_as} {server.url} --replace"


def _when(moment: float | None) -> str:
    if moment is None:
        return "the server says otherwise"
    return datetime.datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
