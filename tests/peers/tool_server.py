"""A real MCP server (the SDK's server half), guarded by an authorization server.

The guard is ASGI around the SDK's application, since the SDK's own cannot be made odd: it
answers 401 and 403 with the challenges of RFC 6750 and RFC 9728, and serves the metadata.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
from mcp.server.mcpserver.prompts.base import Prompt
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.responses import JSONResponse, Response

from tests.peers.authority import Access, Authority
from tests.peers.token_endpoint import check_proof
from tests.peers.tools import make_server
from tests.peers.web import Seen, Web

WELL_KNOWN = "/.well-known/oauth-protected-resource"


@dataclass(kw_only=True)
class ToolKnobs:
    path: str = "/mcp"
    unguarded: bool = False
    extra_tools: int = 0
    slow: float = 0
    completion_seconds: float = 0
    """How long the server thinks before it suggests values."""

    # transport; these are read when the server starts
    legacy: bool = False
    """Only the ``initialize`` eras (2025-11-25 and before) are spoken."""
    json_response: bool = False
    stateless: bool = False

    # who may call
    scope: str | None = None
    """The scope every request must have."""
    step_up: dict[str, str] = field(default_factory=lambda: {"secret_tool": "admin"})
    """Tools that need one more scope, and which."""
    check_audience: bool = True
    """A token for another resource is refused (RFC 8707)."""
    always_401: bool = False
    always_403: bool = False
    """Every tool call is answered 403 ``insufficient_scope``."""
    dpop: bool = False
    dpop_nonce: str | None = None

    # challenges (RFC 6750 §3, RFC 9728 §5.1)
    challenge_metadata: bool = True
    """Challenges name the metadata."""
    challenge_scope: str | None = None
    www_authenticate: str | None = None
    """This header in place of the made one; ``""``: no header."""

    # protected resource metadata (RFC 9728)
    metadata_at: tuple[str, ...] = ("path",)
    """Where it is served: ``"path"``, ``"root"`` or any path. Challenges name the first."""
    scopes_supported: tuple[str, ...] | None = None
    authorization_servers: tuple[str, ...] | None = None
    """None: the issuer of the authority."""
    resource: str | None = None
    metadata_overrides: dict[str, Any] = field(default_factory=dict)
    """Members laid over the metadata; a value of None takes the member out."""
    hosts_authority: bool = False
    """The authority also answers on this origin, as servers of 2025-03-26 have it."""


class _Bus(InMemorySubscriptionBus):
    """Tells when somebody begins or ends to listen."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self.listeners: list[Callable[[ServerEvent], None]] = []

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        leave = super().subscribe(listener)
        self.listeners.append(listener)
        self._changed()

        def unsubscribe() -> None:
            leave()
            if listener in self.listeners:
                self.listeners.remove(listener)
                self._changed()

        return unsubscribe


class ToolServer(Web):
    """The server and what it was asked.

    Attributes:
        knobs: What is odd about it; mutable.
        ran: The tools that were carried out, with their arguments.
        cancelled: The tools whose work was cancelled in the middle.
        note_text: What the resource ``peers://note`` says.
        subscribed: The resources that are subscribed to and by which session, in the older eras.
    """

    def __init__(self, authority: Authority | None, knobs: ToolKnobs) -> None:
        super().__init__()
        self.authority = authority
        self.knobs = knobs
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.note_text = "first"
        self.subscribed: set[tuple[str, str]] = set()
        self.sessions: dict[str, Any] = {}

    @property
    def fault_path(self) -> str:  # type: ignore[override]
        return self.knobs.path

    @property
    def url(self) -> str:
        return self.origin + self.knobs.path

    def calls(self, tool: str) -> int:
        """How often a tool was carried out."""
        return sum(name == tool for name, _ in list(self.ran))

    def wait_for_tool(self, tool: str, n: int = 1, timeout: float = 30) -> None:
        """Waits until a tool has been begun `n` times."""
        self.wait_until(lambda: self.calls(tool) >= n, timeout)

    def note(self, tool: str, arguments: dict[str, Any]) -> None:
        with self._changed:
            self.ran.append((tool, arguments))
            self._changed.notify_all()

    def note_cancelled(self, tool: str) -> None:
        with self._changed:
            self.cancelled.append(tool)
            self._changed.notify_all()

    @property
    def listening(self) -> int:
        """How many subscriptions are open, in the newer era."""
        return len(self._bus.listeners)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    @property
    def subscriptions(self) -> int:
        """How many resources the newest session is subscribed to, in the older eras."""
        return sum(session == list(self.sessions)[-1] for _, session in self.subscribed)

    def note_subscribed(self, uri: str, session: str, *, on: bool) -> None:
        with self._changed:
            (self.subscribed.add if on else self.subscribed.discard)((uri, session))
            self._changed.notify_all()

    def add_tool(self, name: str = "newcomer") -> None:
        """Adds a tool and tells everybody: ``list_changed`` in both eras."""

        def newcomer(text: str = "hello") -> str:
            """A tool that came later."""
            return text

        self.mcp.add_tool(newcomer, name=name)
        self.run(self._tell_change())

    def remove_tool(self, name: str) -> None:
        self.mcp.remove_tool(name)
        self.run(self._tell_change())

    def change_note(self, text: str) -> None:
        """Changes the resource ``peers://note`` and tells who is subscribed to it, in both eras."""
        self.note_text = text
        self.run(self._tell_update("peers://note"))

    async def _tell_update(self, uri: str) -> None:
        await self._bus.publish(ResourceUpdated(uri=uri))
        for subscribed, session in list(self.subscribed):
            if subscribed == uri:
                await self.sessions[session].send_resource_updated(uri)

    def add_prompt(self, name: str = "greet") -> None:
        """Adds a prompt and tells everybody."""

        def greet() -> str:
            """Greets."""
            return "Hello."

        self.mcp.add_prompt(Prompt.from_function(greet, name=name))
        self.run(self._tell_prompts())

    async def _tell_prompts(self) -> None:
        await self._bus.publish(PromptsListChanged())
        for session in self.sessions.values():
            await session.send_prompt_list_changed()

    async def _tell_change(self) -> None:
        await self._bus.publish(ToolsListChanged())
        for session in self.sessions.values():
            await session.send_tool_list_changed()

    # -- serving

    def delay(self, seen: Seen) -> float:
        return self.knobs.slow

    def app(self) -> Any:
        self.sessions = {}
        self._bus = _Bus(self._notify)
        self.mcp = make_server(self, self._bus)
        return self.mcp.streamable_http_app(
            streamable_http_path=self.knobs.path,
            json_response=self.knobs.json_response,
            stateless_http=self.knobs.stateless,
            max_sessions=None,
        )

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == self.knobs.path:
            refusal = self._refuse_request(scope["seen"])
            if refusal is None:
                await self._inner(scope, receive, send)
            else:
                await refusal(scope, receive, send)
        elif scope["path"] in self._metadata_paths():
            await JSONResponse(self._metadata())(scope, receive, send)
        elif self.knobs.hosts_authority and self.authority is not None:
            await self.authority.app()(scope, receive, send)
        else:
            await Response(status_code=404)(scope, receive, send)

    # -- the guard

    def _refuse_request(self, seen: Seen) -> Response | None:
        if not self.knobs.unguarded and self.authority is not None:
            refusal = self._refuse_token(seen)
            if refusal is not None:
                return refusal
        version = seen.headers.get("mcp-protocol-version")
        if self.knobs.legacy and version and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            error = {"code": -32600, "message": f"Bad Request: Unsupported version: {version}"}
            return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)
        return None

    def _refuse_token(self, seen: Seen) -> Response | None:
        knobs = self.knobs
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        access = self._check(scheme, token)
        if not token:
            return self._challenge(401)
        if access is None or knobs.always_401:
            return self._challenge(401, error="invalid_token")
        if knobs.dpop and (problem := self._bad_proof(seen, access, token)):
            return self._challenge(401, error=problem)
        granted = access.scope.split()
        if knobs.scope and not set(knobs.scope.split()) <= set(granted):
            return self._challenge(403, error="insufficient_scope", scope=knobs.scope)
        needed = knobs.step_up.get(seen.tool)
        if needed and (knobs.always_403 or not set(needed.split()) <= set(granted)):
            return self._challenge(403, error="insufficient_scope", scope=needed)
        if knobs.always_403 and seen.tool:
            return self._challenge(403, error="insufficient_scope", scope="more")
        return None

    def _check(self, scheme: str, token: str) -> Access | None:
        assert self.authority is not None
        if scheme.lower() != ("dpop" if self.knobs.dpop else "bearer"):
            return None
        access = self.authority.check(token)
        if access is None:
            return None
        audience = access.grant.resource
        meant = audience in (None, self.knobs.resource or self.url)
        return access if meant or not self.knobs.check_audience else None

    def _bad_proof(self, seen: Seen, access: Access, token: str) -> str | None:
        """RFC 9449 §7."""
        try:
            thumbprint = check_proof(
                seen.headers.get("dpop", ""),
                method=seen.method,
                url=self.url,
                token=token,
                nonce=self.knobs.dpop_nonce,
            )
        except jwt.InvalidTokenError as error:
            return "use_dpop_nonce" if str(error) == "nonce" else "invalid_dpop_proof"
        return None if thumbprint == access.grant.jkt else "invalid_token"

    def _challenge(
        self, status: int, *, error: str | None = None, scope: str | None = None
    ) -> Response:
        knobs = self.knobs
        parameters = {"error": error, "scope": scope or knobs.challenge_scope or knobs.scope}
        if knobs.challenge_metadata and self._metadata_paths():
            parameters["resource_metadata"] = self.origin + self._metadata_paths()[0]
        made = ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value)
        header = f"{'DPoP' if knobs.dpop else 'Bearer'} {made}".strip()
        if knobs.www_authenticate is not None:
            header = knobs.www_authenticate
        headers = {"www-authenticate": header} if header else {}
        if knobs.dpop_nonce:
            headers["dpop-nonce"] = knobs.dpop_nonce
        body = json.dumps({"error": error or "unauthorized"})
        return Response(body, status, headers=headers, media_type="application/json")

    def _metadata_paths(self) -> list[str]:
        names = {"path": WELL_KNOWN + self.knobs.path, "root": WELL_KNOWN}
        return [names.get(place, place) for place in self.knobs.metadata_at]

    def _metadata(self) -> dict[str, Any]:
        knobs = self.knobs
        servers = knobs.authorization_servers
        if servers is None:
            servers = (self.authority.issuer,) if self.authority else ()
        document: dict[str, Any] = {
            "resource": knobs.resource or self.url,
            "authorization_servers": list(servers),
            "bearer_methods_supported": ["header"],
            "scopes_supported": knobs.scopes_supported and list(knobs.scopes_supported),
            "dpop_bound_access_tokens_required": knobs.dpop or None,
        }
        document |= knobs.metadata_overrides
        return {name: value for name, value in document.items() if value is not None}


@contextlib.contextmanager
def serve_tools(authority: Authority | None = None, **knobs: Any) -> Iterator[ToolServer]:
    """Runs an MCP server on a free port of 127.0.0.1 for the block; guarded if it has whom."""
    server = ToolServer(authority, ToolKnobs(**knobs))
    server.start()
    try:
        yield server
    finally:
        server.stop()
