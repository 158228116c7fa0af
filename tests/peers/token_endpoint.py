"""The token, revocation and device endpoints of the test authorization server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlencode

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from tests.peers.authority import Authority, Client, Grant

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


class OAuthError(Exception):
    """An error answer of RFC 6749 §5.2."""

    def __init__(self, code: str, description: str = "", *, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.description, self.status = code, description, status
        self.headers: dict[str, str] = {}


class TokenEndpoint:
    """Turns grants into tokens. Its memory is the authority's."""

    grant_types = (
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    )

    def __init__(self, authority: Authority) -> None:
        self.authority = authority

    # -- endpoints

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            answer = self._grant(request, form)
        except OAuthError as error:
            return self._refused(error)
        self.authority.grants_made.append(form["grant_type"])
        if self.authority.knobs.form_encoded_tokens:
            return Response(urlencode(answer), media_type="application/x-www-form-urlencoded")
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    async def revoke(self, request: Request) -> Response:
        """RFC 7009: a refresh token takes its whole family along, unknown tokens are fine."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            self._authenticate(request, form)
        except OAuthError as error:
            return self._refused(error)
        token = form.get("token", "")
        if refresh := self.authority.refresh.get(token):
            refresh.grant.revoked = True
        if access := self.authority.access.get(token):
            access.revoked = True
        return Response(status_code=200)

    async def device(self, request: Request) -> Response:
        """RFC 8628 §3.1."""
        from tests.peers.authority import Device, Grant

        authority, knobs = self.authority, self.authority.knobs
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            client = self._authenticate(request, form)
        except OAuthError as error:
            return self._refused(error)
        if authority.refuses_scope(form):
            return self._refused(OAuthError("invalid_scope"))
        code, user_code = authority.secret("device-"), secrets.token_hex(4).upper()
        grant = Grant(
            client_id=client.client_id,
            scope=knobs.granted_scope or form.get("scope") or knobs.default_scope,
            resource=form.get("resource"),
        )
        authority.devices[code] = Device(
            user_code=user_code, grant=grant, expires_at=time.time() + knobs.device_lifetime
        )
        page = f"{authority.origin}/device"
        return JSONResponse(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={user_code}",
                "expires_in": knobs.device_lifetime,
                "interval": knobs.device_interval,
            }
        )

    # -- grants

    def _grant(self, request: Request, form: dict[str, str]) -> dict[str, Any]:
        kind = form.get("grant_type", "")
        if kind not in self.grant_types:
            raise OAuthError("unsupported_grant_type")
        client = self._authenticate(request, form)
        if self.authority.refuses_scope(form):
            raise OAuthError("invalid_scope")
        jkt = self._proof_key(request)
        if kind == "authorization_code":
            return self._code(client, form, jkt)
        if kind == "refresh_token":
            return self._refresh(client, form, jkt)
        if kind.endswith("device_code"):
            return self._device(client, form, jkt)
        if kind.endswith("token-exchange"):
            return self._exchange(form)
        if kind.endswith("jwt-bearer"):
            self._take_assertion(form.get("assertion", ""))
        elif client.method == "none":
            raise OAuthError("unauthorized_client", "a public client has no credentials")
        return self._issue(self._own_grant(client, form, jkt), refreshable=False)

    def _code(self, client: Client, form: dict[str, str], jkt: str | None) -> dict[str, Any]:
        code = self.authority.codes.get(form.get("code", ""))
        if code is None or code.grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "no such code")
        if code.spent:
            code.grant.revoked = True
            raise OAuthError("invalid_grant", "the code was used before")
        if code.redirect_uri != form.get("redirect_uri"):
            raise OAuthError("invalid_grant", "another redirect URI")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
            raise OAuthError("invalid_grant", "the code verifier does not fit")
        self._same_resource(code.grant, form)
        code.spent = True
        code.grant.jkt = jkt
        return self._issue(code.grant)

    def _refresh(self, client: Client, form: dict[str, str], jkt: str | None) -> dict[str, Any]:
        authority, knobs = self.authority, self.authority.knobs
        token = form.get("refresh_token", "")
        refresh = authority.refresh.get(token)
        if refresh is None or refresh.grant.revoked:
            raise OAuthError("invalid_grant", "no such refresh token")
        if refresh.grant.client_id != client.client_id:
            raise OAuthError("invalid_grant", "another client's refresh token")
        if refresh.grant.jkt not in (None, jkt):
            raise OAuthError("invalid_grant", "bound to another key")
        if refresh.spent:
            authority.reuses += 1
            refresh.grant.revoked |= knobs.reuse_detection
            raise OAuthError("invalid_grant", "the refresh token was used before")
        self._same_resource(refresh.grant, form)
        refresh.spent = knobs.rotate
        return self._issue(refresh.grant, again=None if knobs.rotate else token)

    def _device(self, client: Client, form: dict[str, str], jkt: str | None) -> dict[str, Any]:
        authority = self.authority
        device = authority.devices.get(form.get("device_code", ""))
        if device is None or device.grant.client_id != client.client_id:
            raise OAuthError("invalid_grant")
        if device.expires_at < time.time():
            raise OAuthError("expired_token")
        if authority.knobs.slow_down > 0:
            authority.knobs.slow_down -= 1
            raise OAuthError("slow_down")
        if device.state == "pending":
            raise OAuthError("authorization_pending")
        if device.state != "approved":
            raise OAuthError("access_denied")
        device.state = "spent"
        device.grant.jkt = jkt
        return self._issue(device.grant)

    def _exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """RFC 8693, as an enterprise's identity provider does it: ID token in, ID-JAG out."""
        if form.get("requested_token_type") != ID_JAG:
            raise OAuthError("invalid_request", "only ID-JAGs are given out")
        if form.get("subject_token") not in self.authority.assertions:
            raise OAuthError("invalid_grant", "unknown subject")
        if not form.get("audience"):
            raise OAuthError("invalid_request", "whom is it for?")
        jag = self.authority.secret("id-jag-")
        self.authority.assertions.add(jag)
        return {"access_token": jag, "issued_token_type": ID_JAG, "token_type": "N_A"}

    def _take_assertion(self, assertion: str) -> None:
        issuers = [self.authority, *self.authority.trusted]
        if not any(assertion in issuer.assertions for issuer in issuers):
            raise OAuthError("invalid_grant", "the assertion is not trusted")

    def _own_grant(self, client: Client, form: dict[str, str], jkt: str | None) -> Grant:
        from tests.peers.authority import Grant

        knobs = self.authority.knobs
        return Grant(
            client_id=client.client_id,
            scope=knobs.granted_scope or form.get("scope") or knobs.default_scope,
            resource=form.get("resource"),
            jkt=jkt,
        )

    @staticmethod
    def _same_resource(grant: Grant, form: dict[str, str]) -> None:
        if "resource" in form and form["resource"] != grant.resource:
            raise OAuthError("invalid_target")

    def _issue(
        self, grant: Grant, *, again: str | None = None, refreshable: bool = True
    ) -> dict[str, Any]:
        from tests.peers.authority import Access, Refresh

        authority, knobs = self.authority, self.authority.knobs
        token = authority.secret("access-")
        authority.access[token] = Access(
            grant=grant, scope=grant.scope, expires_at=time.time() + knobs.token_lifetime
        )
        answer: dict[str, Any] = {
            "access_token": token,
            "token_type": "DPoP" if grant.jkt else "Bearer",
            "scope": grant.scope,
        }
        if not knobs.no_expiry:
            lifetime = knobs.token_lifetime
            answer["expires_in"] = int(lifetime) if lifetime == int(lifetime) else lifetime
        if refreshable and not knobs.no_refresh_token and again is None:
            answer["refresh_token"] = authority.secret("refresh-")
            authority.refresh[answer["refresh_token"]] = Refresh(grant=grant)
        answer |= knobs.token_overrides
        return {name: value for name, value in answer.items() if value is not None}

    # -- who asks

    def _authenticate(self, request: Request, form: dict[str, str]) -> Client:
        """Client authentication by exactly the one method that was registered (RFC 6749 §2.3)."""
        header = request.headers.get("authorization", "")
        if not header and "client_assertion" in form:
            return self._by_assertion(form)
        if header:
            client_id, secret, method = *_basic(header), "client_secret_basic"
        elif "client_secret" in form:
            client_id, secret, method = form.get("client_id", ""), form["client_secret"], ""
            method = "client_secret_post"
        else:
            client_id, secret, method = form.get("client_id", ""), None, "none"
        if header and ("client_secret" in form or "client_assertion" in form):
            raise OAuthError("invalid_request", "two ways of authentication at once")
        client = self.authority.clients.get(client_id)
        if client is None:
            raise OAuthError("invalid_client", "no such client", status=401)
        if client.method != method or client.secret != secret:
            raise OAuthError("invalid_client", f"not by {method}", status=401)
        if client.secret_expires_at and client.secret_expires_at < time.time():
            raise OAuthError("invalid_client", "the secret has expired", status=401)
        return client

    def _by_assertion(self, form: dict[str, str]) -> Client:
        """RFC 7523 §3."""
        assertion = form["client_assertion"]
        if form.get("client_assertion_type") != JWT_BEARER:
            raise OAuthError("invalid_client", "unknown assertion type", status=401)
        try:
            subject = jwt.decode(assertion, options={"verify_signature": False}).get("sub", "")
            client = self.authority.clients.get(subject)
            if client is None or client.method != "private_key_jwt" or not client.public_key:
                raise OAuthError("invalid_client", status=401)
            jwt.decode(
                assertion,
                client.public_key,
                algorithms=["ES256", "RS256", "EdDSA"],
                audience=[self.authority.issuer, f"{self.authority.origin}/token"],
                issuer=subject,
                options={"require": ["exp", "iss", "sub", "aud", "jti"]},
            )
        except jwt.InvalidTokenError as error:
            raise OAuthError("invalid_client", str(error), status=401) from None
        return client

    def _proof_key(self, request: Request) -> str | None:
        """RFC 9449 §5: the thumbprint of the key that the proof was signed with."""
        if not self.authority.knobs.dpop:
            return None
        try:
            return check_proof(
                request.headers.get("dpop", ""),
                method="POST",
                url=f"{self.authority.origin}/token",
                nonce=self.authority.knobs.dpop_nonce,
            )
        except jwt.InvalidTokenError as error:
            code = "use_dpop_nonce" if str(error) == "nonce" else "invalid_dpop_proof"
            refusal = OAuthError(code, str(error))
            if self.authority.knobs.dpop_nonce:
                refusal.headers = {"dpop-nonce": self.authority.knobs.dpop_nonce}
            raise refusal from None

    def _refused(self, error: OAuthError) -> Response:
        body = {"error": error.code, "error_description": error.description}
        status = 200 if self.authority.knobs.error_with_200 else error.status
        headers = dict(error.headers)
        if error.status == 401:
            headers["www-authenticate"] = 'Basic realm="authority"'
        return JSONResponse(body, status, headers=headers)


def check_proof(
    proof: str, *, method: str, url: str, token: str | None = None, nonce: str | None = None
) -> str:
    """Checks a DPoP proof (RFC 9449 §4.3) and gives the thumbprint of its key (RFC 7638)."""
    key = jwt.get_unverified_header(proof).get("jwk")
    if not key:
        raise jwt.InvalidTokenError("no key in the proof")
    claims = jwt.decode(
        proof,
        jwt.PyJWK(key).key,
        algorithms=["ES256"],
        options={"require": ["jti", "htm", "htu", "iat"]},
    )
    if (claims["htm"], claims["htu"]) != (method, url):
        raise jwt.InvalidTokenError("made for another request")
    if nonce and claims.get("nonce") != nonce:
        raise jwt.InvalidTokenError("nonce")
    if token is not None and claims.get("ath") != _b64(hashlib.sha256(token.encode()).digest()):
        raise jwt.InvalidTokenError("made for another token")
    members = ",".join(f'"{name}":"{key[name]}"' for name in ("crv", "kty", "x", "y"))
    return _b64(hashlib.sha256(f"{{{members}}}".encode()).digest())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _basic(header: str) -> tuple[str, str]:
    """RFC 6749 §2.3.1: both halves are form-encoded before they are joined."""
    scheme, _, value = header.partition(" ")
    try:
        client_id, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, ValueError):
        client_id = secret = ""
    if scheme.lower() != "basic":
        raise OAuthError("invalid_client", "not Basic", status=401)
    return unquote_plus(client_id), unquote_plus(secret)
