"""One authenticated request to a token endpoint, and the judging of its answer (RFC 6749 §3.2, §5).

Exactly one client authentication method goes with a request (RFC 6749 §2.3): with basic the body
carries no ``client_id``, with everything else there is no ``Authorization``. The answer is read
leniently in its form (JSON, or form-encoded as GitHub does) and strictly in what would be used.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote_plus

from mcp_notebook.auth.assertions import DpopKey, client_assertion
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.refusals import is_refusal, refusal
from mcp_notebook.auth.reply import Reply
from mcp_notebook.auth.wire import is_visible, number_of
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import AuthorizationServerError

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_TOKEN = 16 * 1024
"""Characters; web servers take headers of 8 to 16 KiB."""

_LONGEST_LIFE = 365 * 86400.0
_LONGEST_SCOPE = 4096
_MOST_SCOPES = 100

_SENT_SECRETS = (
    "code", "code_verifier", "refresh_token", "device_code", "assertion", "subject_token",
    "client_secret", "client_assertion", "token",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tokens:
    """What a token endpoint granted (RFC 6749 §5.1).

    Attributes:
        access_token: Visible ASCII, safe in a header.
        refresh_token: None where none was given.
        expires_at: Seconds since the epoch; None where nothing usable was said.
        scope: What was granted, space separated; None where that is what was asked for.
        token_type: ``"Bearer"`` or ``"DPoP"``.
    """

    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    scope: str | None = None
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme

    def __repr__(self) -> str:
        refreshable = "refreshable" if self.refresh_token else "not refreshable"
        return f"<Tokens {self.token_type}, {refreshable}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("Tokens are secrets and are not pickled")

    @classmethod
    def judged(cls, reply: Reply, *, bound: bool) -> Self:
        """Returns the tokens of a successful answer.

        Args:
            reply: The answer.
            bound: A DPoP proof was sent, so that the token has to be bound to its key.

        Raises:
            AuthorizationServerError: It holds no token that can be used. No value of the answer is
                in the message: it may be a token.
        """
        document = reply.document
        if document is None:
            raise _unusable(reply, "something that is neither JSON nor a form")
        access_token = document.get("access_token")
        if not is_visible(access_token, _LONGEST_TOKEN):
            # Sent as it is, a line break would add a header of the server's choice.
            raise _unusable(reply, "no access token that can be sent")
        refresh_token = document.get("refresh_token") or None
        if refresh_token is not None and not is_visible(refresh_token, _LONGEST_TOKEN, spaces=True):
            raise _unusable(reply, "a refresh token that cannot be sent")
        return cls(
            access_token=access_token,
            refresh_token=refresh_token,
            expires_at=_expiry(document.get("expires_in")),
            scope=_scope(document.get("scope")),
            token_type=_token_type(reply, document, bound=bound),
        )


async def ask_for_tokens(
    fetch: Fetch,
    client: RegisteredClient,
    address: str,
    fields: Mapping[str, str | None],
    *,
    issuer: str,
    what: str,
    rfc: str,
    dpop: DpopKey | None = None,
    hint: str = "",
) -> Tokens:
    """Asks a token endpoint once, and returns the tokens it granted.

    Raises:
        AuthorizationServerError: It cannot be reached, refuses, or answers with what cannot be
            used; `AuthorizationServerError.code` is its error code.
    """
    reply = await ask(
        fetch, client, address, fields, issuer=issuer, what=what, rfc=rfc, dpop=dpop, hint=hint
    )
    try:
        tokens = Tokens.judged(reply, bound=dpop is not None)
    except AuthorizationServerError as error:
        fetch.remark(problem=error.message, fix=error.hint)
        raise
    fetch.remark(found=f"a {tokens.token_type} token")
    return tokens


async def ask(
    fetch: Fetch,
    client: RegisteredClient,
    address: str,
    fields: Mapping[str, str | None],
    *,
    issuer: str,
    what: str,
    rfc: str,
    dpop: DpopKey | None = None,
    hint: str = "",
) -> Reply:
    """Sends one authenticated request, and returns an answer that is no refusal.

    Args:
        fetch: The errand's HTTP client.
        client: Who asks; authenticates with its one method.
        address: The token, device authorization or revocation endpoint.
        fields: The form; a field whose value is None is left out.
        issuer: The authorization server, the audience of a client assertion.
        what: What is asked for, for the record of steps and for messages.
        rfc: Where that is laid down.
        dpop: The key to prove possession of, if tokens are to be bound to one.
        hint: What to do if it is refused; the error code's own hint where this is empty.

    Raises:
        AuthorizationServerError: It cannot be reached or refuses.
        ServerConfigError: The client's private key cannot sign.
    """
    form = {name: value for name, value in fields.items() if value is not None}
    headers = _authenticate(client, form, audience=issuer)
    sent = [form[name] for name in _SENT_SECRETS if name in form]
    if client.client_secret:
        sent.append(client.client_secret)

    async def post(nonce: str | None) -> Reply:
        proof = {"DPoP": dpop.proof("POST", address, nonce=nonce)} if dpop else {}
        return await fetch.post_form(
            address, form, headers={**headers, **proof}, what=what, rfc=rfc
        )

    reply = await post(None)
    if dpop is not None and (nonce := _demanded_nonce(reply)):
        # RFC 9449 §8: the request was not acted upon, so that even a code may be sent again.
        reply = await post(nonce)
    if is_refusal(reply):
        error = refusal(reply, what, secrets=sent, hint=hint)
        fetch.remark(problem=error.message, fix=error.hint)
        raise error
    return reply


def _authenticate(
    client: RegisteredClient, form: dict[str, str], *, audience: str
) -> dict[str, str]:
    """Puts the client's one authentication method on a request; returns the headers it needs."""
    if client.auth_method == "client_secret_basic":
        # RFC 6749 §2.3.1: both are form-encoded first, so that a colon separates.
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode('ascii')).decode('ascii')}"}
    form["client_id"] = client.client_id
    if client.auth_method == "client_secret_post":
        form["client_secret"] = client.client_secret or ""
    elif client.auth_method == "private_key_jwt":
        form["client_assertion_type"] = _ASSERTION_TYPE
        form["client_assertion"] = client_assertion(
            client.client_id, audience, client.private_key or "", client.signing_algorithm
        )
    return {}


def _demanded_nonce(reply: Reply) -> str | None:
    if reply.status not in {400, 401} or (reply.document or {}).get("error") != "use_dpop_nonce":
        return None
    nonce = reply.headers.get("DPoP-Nonce")
    return nonce if is_visible(nonce, 1024) else None


def _token_type(reply: Reply, document: Mapping[str, Any], *, bound: bool) -> str:
    # RFC 6749 §5.1 requires it; where it is left out only Bearer can be meant (RFC 6750).
    said = document.get("token_type", "Bearer")
    known = {"bearer": "Bearer", "dpop": "DPoP"}
    token_type = known.get(said.lower()) if isinstance(said, str) else None
    if token_type is None:
        raise _unusable(reply, "a token of a kind that MCP does not know (token_type)")
    if (token_type == known["dpop"]) is not bound:
        # RFC 9449 §5: who needs a bound token does not use one that is not, nor the reverse.
        raise _unusable(
            reply, "a token that is not bound to the key" if bound else "a token bound to a key"
        )
    return token_type


def _expiry(value: object) -> float | None:
    """The moment of expiry; a lifetime that makes no sense counts as none said."""
    seconds = number_of(value)
    if seconds is None or seconds <= 0:
        return None
    return time.time() + min(seconds, _LONGEST_LIFE)


def _scope(value: object) -> str | None:
    if not is_visible(value, _LONGEST_SCOPE, spaces=True) or '"' in value or "\\" in value:
        return None
    if " " not in value.strip():
        # GitHub separates with commas.
        value = value.replace(",", " ")
    words = value.split()
    return " ".join(words) if 0 < len(words) <= _MOST_SCOPES else None


def _unusable(reply: Reply, found: str) -> AuthorizationServerError:
    return AuthorizationServerError(
        f"{host_of(reply.address)} answered the token request with {found}.",
        hint="Its operator has to correct that; %mcp doctor NAME shows each step.",
        status=reply.status,
    )
