"""A real authorization server: registration, consent page, code + PKCE, refresh, revocation.

What it answers at the token endpoint is in `token_endpoint`; here are its memory, its metadata,
registration and the pages a person sees.
"""

from __future__ import annotations

import contextlib
import html
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.peers.knobs import AuthorityKnobs
from tests.peers.token_endpoint import TokenEndpoint
from tests.peers.web import Seen, Web

PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>
<p>{text}</p>{form}"""
FORM = """<form method="post" action="{action}">{fields}
<button name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button></form>"""


@dataclass(kw_only=True)
class Client:
    client_id: str
    secret: str | None = None
    method: str = "none"
    redirect_uris: tuple[str, ...] | None = None
    """None: any."""
    public_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    secret_expires_at: float | None = None


@dataclass(kw_only=True)
class Grant:
    """What a person (or a client for itself) was granted: one family of tokens."""

    client_id: str
    scope: str
    resource: str | None
    revoked: bool = False
    jkt: str | None = None


@dataclass(kw_only=True)
class Code:
    grant: Grant
    redirect_uri: str
    challenge: str
    spent: bool = False


@dataclass(kw_only=True)
class Access:
    grant: Grant
    scope: str
    expires_at: float
    revoked: bool = False


@dataclass(kw_only=True)
class Refresh:
    grant: Grant
    spent: bool = False


@dataclass(kw_only=True)
class Device:
    user_code: str
    grant: Grant
    expires_at: float
    state: str = "pending"


class Authority(Web):
    """The server, what it knows, and what it was asked.

    Attributes:
        knobs: What is odd about it; mutable.
        tokens: Every secret it ever gave out, to search outputs for.
        reuses: How often a spent refresh token was presented.
        grants_made: The grant types of all successful token requests, in order.
        assertions: The JWTs that the jwt-bearer and token-exchange grants take.
        trusted: Identity providers whose ID-JAGs the jwt-bearer grant takes.
    """

    fault_path = "/token"

    def __init__(self, knobs: AuthorityKnobs) -> None:
        super().__init__()
        self.knobs = knobs
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.access: dict[str, Access] = {}
        self.refresh: dict[str, Refresh] = {}
        self.devices: dict[str, Device] = {}
        self.tokens: list[str] = []
        self.reuses = 0
        self.grants_made: list[str] = []
        self.assertions: set[str] = set()
        self.trusted: list[Authority] = []
        self._pages: dict[str, dict[str, str]] = {}
        self.token_endpoint = TokenEndpoint(self)

    @property
    def url(self) -> str:
        return self.origin

    @property
    def issuer(self) -> str:
        """The true issuer, whatever the metadata says."""
        return self.origin + self.knobs.issuer_path

    # -- what tests do to it

    def add_client(self, client_id: str, **values: Any) -> Client:
        """Registers a client beforehand (`Client` says what can be given)."""
        client = self.clients[client_id] = Client(client_id=client_id, **values)
        if client.secret:
            self.tokens.append(client.secret)
        return client

    def forget_clients(self) -> None:
        """As an authorization server does that purges registrations."""
        self.clients.clear()

    def check(self, token: str) -> Access | None:
        """Gives what an access token stands for, or None if it is no good (any more)."""
        access = self.access.get(token)
        if access is None or access.revoked or access.grant.revoked:
            return None
        return access if access.expires_at > time.time() else None

    def revoke_access(self, token: str | None = None) -> None:
        """Revokes one access token, or all; the refresh tokens stay good."""
        for name, access in list(self.access.items()):
            access.revoked |= token in (None, name)

    def expire_access(self) -> None:
        """Every access token has just expired."""
        for access in list(self.access.values()):
            access.expires_at = 0

    def revoke_grants(self) -> None:
        """Everything ever granted is revoked, refresh tokens too."""
        for refresh in list(self.refresh.values()):
            refresh.grant.revoked = True
        for access in list(self.access.values()):
            access.grant.revoked = True

    def secret(self, prefix: str = "") -> str:
        made = prefix + secrets.token_urlsafe(24)
        self.tokens.append(made)
        return made

    def refuses_scope(self, asked: dict[str, str]) -> bool:
        """Tells whether a request asks for what is never granted here."""
        return not set(asked.get("scope", "").split()).isdisjoint(self.knobs.refused_scopes)

    # -- serving

    def delay(self, seen: Seen) -> float:
        return self.knobs.slow_paths.get(seen.path, self.knobs.slow)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if status := self.knobs.statuses.get(scope["path"]):
            await Response(status_code=status)(scope, receive, send)
            return
        if scope["path"] == "/token" and self.knobs.lose_next_token_answer > 0:
            self.knobs.lose_next_token_answer -= 1

            async def lose(message: Any) -> None:
                if message["type"] == "http.response.body":
                    self._cut(scope)

            await self._inner(scope, receive, lose)
            return
        await self._inner(scope, receive, send)

    def app(self) -> Starlette:
        endpoint = self.token_endpoint
        return Starlette(
            routes=[
                Route("/register", self._register, methods=["POST"]),
                Route("/authorize", self._authorize, methods=["GET"]),
                Route("/authorize", self._decide, methods=["POST"]),
                Route("/token", endpoint.token, methods=["POST"]),
                Route("/revoke", endpoint.revoke, methods=["POST"]),
                Route("/device_authorization", endpoint.device, methods=["POST"]),
                Route("/device", self._device_page, methods=["GET"]),
                Route("/device", self._device_decide, methods=["POST"]),
                Route("/{rest:path}", self._metadata, methods=["GET"]),
            ]
        )

    # -- metadata

    async def _metadata(self, request: Request) -> Response:
        tenant, known = self.knobs.issuer_path, self.knobs.well_known
        addresses = {
            f"/.well-known/oauth-authorization-server{tenant}": "oauth",
            f"/.well-known/openid-configuration{tenant}": "oidc_inserted",
            f"{tenant}/.well-known/openid-configuration": "oidc_appended",
        }
        here = {address for address, kind in addresses.items() if kind in known}
        if request.url.path not in here:
            return JSONResponse({"error": "not_found"}, 404)
        return JSONResponse(self._document(str(request.base_url).rstrip("/")))

    def _document(self, base: str) -> dict[str, Any]:
        knobs = self.knobs
        document: dict[str, Any] = {
            "issuer": knobs.issuer or base + knobs.issuer_path,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "registration_endpoint": None if knobs.no_registration else f"{base}/register",
            "revocation_endpoint": None if knobs.no_revocation else f"{base}/revoke",
            "device_authorization_endpoint": (
                None if knobs.no_device else f"{base}/device_authorization"
            ),
            "response_types_supported": ["code"],
            "grant_types_supported": list(TokenEndpoint.grant_types),
            "token_endpoint_auth_methods_supported": list(knobs.auth_methods),
            "code_challenge_methods_supported": None if knobs.no_s256 else ["S256"],
            "scopes_supported": (
                None if knobs.scopes_supported is None else list(knobs.scopes_supported)
            ),
            "authorization_response_iss_parameter_supported": knobs.iss_advertised or None,
            "client_id_metadata_document_supported": bool(knobs.cimd) or None,
            "dpop_signing_alg_values_supported": ["ES256"] if knobs.dpop else None,
        }
        document |= knobs.metadata_overrides
        return {name: value for name, value in document.items() if value is not None}

    # -- registration (RFC 7591)

    async def _register(self, request: Request) -> Response:
        knobs, asked = self.knobs, await request.json()
        if knobs.no_registration:
            return JSONResponse({"error": "not_found"}, 404)
        wanted = knobs.initial_access_token
        if wanted and request.headers.get("authorization") != f"Bearer {wanted}":
            return JSONResponse({"error": "invalid_token"}, 401)
        refusal = knobs.registration_refuses
        if callable(refusal):
            refusal = refusal(asked)
        if refusal:
            return JSONResponse(refusal[1], refusal[0])
        if not asked.get("redirect_uris") and "authorization_code" in asked.get(
            "grant_types", ["authorization_code"]
        ):
            return JSONResponse({"error": "invalid_redirect_uri"}, 400)
        return JSONResponse(self._registered(asked), 201)

    def _registered(self, asked: dict[str, Any]) -> dict[str, Any]:
        knobs = self.knobs
        method = asked.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in knobs.auth_methods:
            method = knobs.auth_methods[0]
        answer = asked | {
            "client_id": f"client-{secrets.token_urlsafe(6)}",
            "client_id_issued_at": int(time.time()),
            "token_endpoint_auth_method": method,
        }
        if method.startswith("client_secret"):
            ends = knobs.secret_lifetime
            answer["client_secret"] = self.secret("secret-")
            answer["client_secret_expires_at"] = 0 if ends is None else int(time.time()) + ends
        answer |= knobs.registration_overrides
        self.clients[answer["client_id"]] = Client(
            client_id=answer["client_id"],
            secret=answer.get("client_secret"),
            method=answer["token_endpoint_auth_method"],
            redirect_uris=tuple(answer.get("redirect_uris", ())),
            metadata=answer,
            secret_expires_at=answer.get("client_secret_expires_at") or None,
        )
        return answer

    # -- the person's pages

    def _client_of(self, client_id: str) -> Client | None:
        if client := self.clients.get(client_id):
            return client
        if self.knobs.cimd and urlsplit(client_id).scheme in ("https", "http"):
            return self.add_client(client_id)
        return None

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        client = self._client_of(asked.get("client_id", ""))
        if client is None:
            return _page("Unknown client", "This client is not registered here.", status=400)
        redirect_uri = asked.get("redirect_uri", "")
        if client.redirect_uris is not None and redirect_uri not in client.redirect_uris:
            return _page("Wrong redirect URI", "It is not a registered one.", status=400)
        if self.knobs.cimd == "refused" and client.client_id.startswith("http"):
            return self._back(asked, {"error": "unauthorized_client"})
        if asked.get("response_type") != "code":
            return self._back(asked, {"error": "unsupported_response_type"})
        if asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge"):
            return self._back(asked, {"error": "invalid_request"})
        if self.refuses_scope(asked):
            return self._back(asked, {"error": "invalid_scope"})
        if self.knobs.auto_approve:
            return self._answer(asked, approved=True)
        page = secrets.token_urlsafe(8)
        self._pages[page] = asked
        scope = html.escape(asked.get("scope", "nothing in particular"))
        name = html.escape(client.metadata.get("client_name", client.client_id))
        return _page("Sign in", f"{name} asks for: {scope}", action="/authorize", page=page)

    async def _decide(self, request: Request) -> Response:
        form = await request.form()
        asked = self._pages.pop(str(form.get("page")), None)
        if asked is None:
            return _page("Too late", "This page was answered already.", status=400)
        return self._answer(asked, approved=form.get("decision") == "approve")

    def _answer(self, asked: dict[str, str], *, approved: bool) -> Response:
        if self.knobs.deny or not approved:
            return self._back(
                asked, {"error": "access_denied", "error_description": "the person said no"}
            )
        scope = self.knobs.granted_scope or asked.get("scope") or self.knobs.default_scope
        grant = Grant(
            client_id=asked["client_id"], scope=scope, resource=asked.get("resource") or None
        )
        code = self.secret("code-")
        self.codes[code] = Code(
            grant=grant, redirect_uri=asked["redirect_uri"], challenge=asked["code_challenge"]
        )
        return self._back(asked, {"code": code})

    def _back(self, asked: dict[str, str], answer: dict[str, str]) -> Response:
        for name, knob, right in (
            ("state", self.knobs.state, asked.get("state")),
            ("iss", self.knobs.iss, self.knobs.issuer or self.issuer),
        ):
            value = right if knob == "right" else knob
            if value is not None:
                answer[name] = value
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return RedirectResponse(asked["redirect_uri"] + joint + urlencode(answer), 302)

    async def _device_page(self, request: Request) -> Response:
        user_code = request.query_params.get("user_code", "")
        return _page("Connect a device", html.escape(user_code), action="/device", page=user_code)

    async def _device_decide(self, request: Request) -> Response:
        form = await request.form()
        for device in list(self.devices.values()):
            if device.user_code == form.get("page"):
                approved = form.get("decision") == "approve" and not self.knobs.deny
                device.state = "approved" if approved else "denied"
                return _page("Done", "You can go back to your device.")
        return _page("Unknown code", "There is no such device.", status=404)


def _page(
    title: str, text: str, *, action: str = "", page: str = "", status: int = 200
) -> Response:
    fields = f'<input type="hidden" name="page" value="{html.escape(page)}">'
    form = FORM.format(action=action, fields=fields) if action else ""
    return HTMLResponse(PAGE.format(title=title, text=text, form=form), status)


@contextlib.contextmanager
def serve_authority(**knobs: Any) -> Iterator[Authority]:
    """Runs an authorization server on a free port of 127.0.0.1 for the block."""
    authority = Authority(AuthorityKnobs(**knobs))
    authority.start()
    try:
        yield authority
    finally:
        authority.stop()
