"""The demo's authorization server: what OAuth 2.1 asks of one, and no more.

Metadata (RFC 8414), registration (RFC 7591), a consent page, authorization code with PKCE
(RFC 7636) and `iss` (RFC 9207), refresh with rotation (RFC 9700 §4.14.2), revocation (RFC 7009).
Anybody may register, but only to be answered on this computer, and a person has to approve.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from mcp.server.auth.provider import AccessToken
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mcp_notebook.demo.consent import consent, notice
from mcp_notebook.demo.ledger import Client, Grant, Ledger, digest

SCOPE = "explore"
METHODS = ("none", "client_secret_basic", "client_secret_post")
CODE_SECONDS = 60
PAGE_SECONDS = 600
MOST_BYTES = 64 * 1024
MOST_PAGES = 100


class OAuthError(Exception):
    """An error answer of RFC 6749 §5.2 or RFC 7591 §3.2.2."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code, self.status = code, status


@dataclass(kw_only=True)
class Code:
    """An authorization code that was given out; `used` is the grant it was spent for."""

    grant: Grant
    redirect_uri: str
    challenge: str
    ends: float
    used: str = ""


class Authority:
    """The endpoints, over a ledger.

    Args:
        origin: Its own origin, which is also its issuer.
        resource: The one resource that its tokens are for (RFC 8707).
        ledger: What it remembers.
    """

    def __init__(self, origin: str, *, resource: str, ledger: Ledger) -> None:
        self.issuer = origin
        self._resource = resource
        self._ledger = ledger
        self._pages: dict[str, tuple[float, dict[str, str]]] = {}
        self._codes: dict[str, Code] = {}

    def routes(self) -> list[Route]:
        """Returns the endpoints for a Starlette application."""
        return [
            Route("/.well-known/oauth-authorization-server", self._metadata),
            Route("/register", self._guarded(self._register), methods=["POST"]),
            Route("/authorize", self._ask, methods=["GET"]),
            Route("/authorize", self._decide, methods=["POST"]),
            Route("/token", self._guarded(self._token), methods=["POST"]),
            Route("/revoke", self._guarded(self._revoke), methods=["POST"]),
        ]

    async def verify_token(self, token: str) -> AccessToken | None:
        """The SDK's `TokenVerifier`: what an access token stands for, or None."""
        found = self._ledger.access(token)
        if found is None:
            return None
        known, grant = found
        return AccessToken(
            token=token,
            client_id=grant.client_id,
            scopes=grant.scope.split(),
            expires_at=int(known.ends) + 1,
            resource=grant.resource,
        )

    # -- endpoints

    async def _metadata(self, _request: Request) -> Response:
        issuer = self.issuer
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "registration_endpoint": f"{issuer}/register",
                "revocation_endpoint": f"{issuer}/revoke",
                "scopes_supported": [SCOPE],
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": list(METHODS),
                "revocation_endpoint_auth_methods_supported": list(METHODS),
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _register(self, request: Request) -> Response:
        asked = _json_object(request, await _body(request))
        redirect_uris = asked.get("redirect_uris")
        if not isinstance(redirect_uris, list) or not redirect_uris:
            raise OAuthError("invalid_redirect_uri", "redirect_uris is missing")
        if not all(_is_loopback(uri) for uri in redirect_uris):
            raise OAuthError("invalid_redirect_uri", "only addresses of this computer are taken")
        method = asked.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in METHODS:
            raise OAuthError("invalid_client_metadata", "unknown token_endpoint_auth_method")
        name = str(asked.get("client_name") or "A program")[:100]
        client_id, secret = self._ledger.register(
            name=name, method=method, redirect_uris=redirect_uris
        )
        answer = {
            "client_id": client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": name,
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": SCOPE,
        }
        if secret:
            answer |= {"client_secret": secret, "client_secret_expires_at": 0}
        return JSONResponse(answer, 201, headers={"cache-control": "no-store"})

    async def _ask(self, request: Request) -> Response:
        asked = dict(request.query_params)
        client = self._ledger.clients.get(asked.get("client_id", ""))
        # Without a known client and address nothing may be sent anywhere (RFC 6749 §4.1.2.1)
        if client is None:
            return notice("Unknown client", "This program is not registered here (any more).")
        if asked.get("redirect_uri") not in client.redirect_uris:
            return notice("Wrong address", "The program did not register the address it named.")
        try:
            self._check(asked)
        except OAuthError as error:
            return self._back(asked, error=error.code, error_description=str(error))
        self._forget_old_pages()
        page = secrets.token_urlsafe(16)
        self._pages[page] = (time.time() + PAGE_SECONDS, asked)
        target = urlsplit(asked["redirect_uri"])
        return consent(
            client=client.name,
            scope=asked.get("scope") or SCOPE,
            target=f"{target.scheme}://{target.netloc}",
            page=page,
        )

    async def _decide(self, request: Request) -> Response:
        try:
            form = _form(await _body(request))
        except OAuthError as error:
            return notice("That did not work", str(error))
        self._forget_old_pages()
        known = self._pages.pop(form.get("page", ""), None)
        if known is None:
            return notice("Too late", "This page was answered already, or is too old.")
        asked = known[1]
        if form.get("decision") != "approve":
            return self._back(asked, error="access_denied", error_description="You said no.")
        code = secrets.token_urlsafe(32)
        self._codes[digest(code)] = Code(
            grant=Grant(
                client_id=asked["client_id"],
                scope=asked.get("scope") or SCOPE,
                resource=self._resource,
            ),
            redirect_uri=asked["redirect_uri"],
            challenge=asked["code_challenge"],
            ends=time.time() + CODE_SECONDS,
        )
        return self._back(asked, code=code)

    async def _token(self, request: Request) -> Response:
        form = _form(await _body(request))
        client_id = self._authenticate(request, form)
        if form.get("resource", self._resource) != self._resource:
            raise OAuthError("invalid_target", "tokens are given for this server alone")
        kind = form.get("grant_type")
        if kind == "authorization_code":
            answer = self._spend_code(form, client_id)
        elif kind == "refresh_token":
            renewed = self._ledger.rotate(form.get("refresh_token", ""), client_id)
            if renewed is None:
                raise OAuthError("invalid_grant", "the refresh token is no good")
            answer = renewed
        else:
            raise OAuthError("unsupported_grant_type", "only a code or a refresh token is taken")
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    async def _revoke(self, request: Request) -> Response:
        form = _form(await _body(request))
        self._ledger.revoke(form.get("token", ""), self._authenticate(request, form))
        return Response(status_code=200)

    # -- rules

    def _check(self, asked: dict[str, str]) -> None:
        if asked.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "only response_type=code is known")
        if (
            asked.get("code_challenge_method") != "S256"
            or len(asked.get("code_challenge", "")) != 43
        ):
            raise OAuthError("invalid_request", "PKCE with S256 is needed")
        if asked.get("resource", self._resource) != self._resource:
            raise OAuthError("invalid_target", "tokens are given for this server alone")
        if not set(asked.get("scope", "").split()) <= {SCOPE}:
            raise OAuthError("invalid_scope", f"the only scope is {SCOPE}")

    def _spend_code(self, form: dict[str, str], client_id: str) -> dict[str, Any]:
        code = self._codes.get(digest(form.get("code", "")))
        if code is None or code.grant.client_id != client_id or code.ends < time.time():
            raise OAuthError("invalid_grant", "the code is no good")
        if code.used:
            self._ledger.revoke_grant(code.used)
            raise OAuthError("invalid_grant", "the code was used before")
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if not compare_digest(challenge.encode(), code.challenge.encode()):
            raise OAuthError("invalid_grant", "the code_verifier does not fit")
        if form.get("redirect_uri") != code.redirect_uri:
            raise OAuthError("invalid_grant", "the redirect_uri is another one")
        code.used, answer = self._ledger.issue(code.grant)
        return answer

    def _authenticate(self, request: Request, form: dict[str, str]) -> str:
        """Returns the client's id if it proved to be who it is, in the way it registered."""
        header = request.headers.get("authorization", "")
        if header:
            client_id, secret = _basic(header)
            method = "client_secret_basic"
        else:
            client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
            method = "client_secret_post" if secret else "none"
        client = self._ledger.clients.get(client_id)
        if client is None or client.method != method or not _fits(client, secret):
            raise OAuthError("invalid_client", "the client is not known like this", status=401)
        return client_id

    def _back(self, asked: dict[str, str], **answer: str) -> Response:
        answer["iss"] = self.issuer
        if "state" in asked:
            answer["state"] = asked["state"]
        joint = "&" if urlsplit(asked["redirect_uri"]).query else "?"
        target = asked["redirect_uri"] + joint + urlencode(answer)
        return RedirectResponse(target, 302, headers={"cache-control": "no-store"})

    def _forget_old_pages(self) -> None:
        now = time.time()
        young = [(name, page) for name, page in self._pages.items() if page[0] > now]
        self._pages = dict(young[-MOST_PAGES:])
        self._codes = {name: code for name, code in self._codes.items() if code.ends > now}

    @staticmethod
    def _guarded(endpoint: Any) -> Any:
        """Turns an `OAuthError` of an endpoint into its answer."""

        async def answered(request: Request) -> Response:
            try:
                response: Response = await endpoint(request)
            except OAuthError as error:
                body = {"error": error.code, "error_description": str(error)}
                headers = {"cache-control": "no-store"}
                if error.status == 401:
                    headers["www-authenticate"] = 'Basic realm="demo"'
                return JSONResponse(body, error.status, headers=headers)
            return response

        return answered


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise OAuthError("invalid_request", "the request is too long", status=413)
    return body


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise OAuthError("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):  # RFC 6749 §3.2
        raise OAuthError("invalid_request", "a parameter is there twice")
    return form


def _json_object(request: Request, body: bytes) -> dict[str, Any]:
    # A page elsewhere may post text/plain here without asking, but not JSON
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise OAuthError("invalid_client_metadata", "the metadata must be application/json")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise OAuthError("invalid_client_metadata", "the metadata must be a JSON object")
    return document


def _is_loopback(uri: Any) -> bool:
    if not isinstance(uri, str) or len(uri) > 2000:
        return False
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    here = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return here and parts.scheme == "http" and not parts.fragment and not parts.username


def _basic(header: str) -> tuple[str, str]:
    """Returns id and secret; both were form-encoded before they were joined (RFC 6749 §2.3.1)."""
    scheme, _, value = header.partition(" ")
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if scheme.lower() != "basic":
        return "", ""
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _fits(client: Client, secret: str) -> bool:
    if client.secret is None:
        return not secret
    return compare_digest(client.secret, digest(secret))
