"""The link a person opens to sign in, and the proof key that guards its answer."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit


@dataclass(frozen=True, slots=True, repr=False)
class Pkce:
    """A proof key for one code exchange, method ``S256`` (RFC 7636).

    Attributes:
        verifier: The secret, 43 to 128 unreserved characters; goes to the token endpoint alone.
        challenge: Its hash, which goes into the link.
    """

    verifier: str
    challenge: str

    @classmethod
    def create(cls) -> Self:
        """Returns a fresh key with 384 random bits."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode("ascii")).digest()
        return cls(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"))

    def __repr__(self) -> str:
        return "<Pkce S256>"


def authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scope: str | None,
    state: str,
    challenge: str,
    resource: str | None,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Returns the address of an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).

    The endpoint's own query is kept, as RFC 6749 §3.1 demands, and no parameter occurs twice: what
    the protocol needs wins over `extra`, and `extra` over the endpoint's query.

    Args:
        endpoint: The authorization endpoint, possibly with a query (Entra: ``?tenant=…``).
        client_id: Who asks.
        redirect_uri: Where the browser is sent with the answer.
        scope: What is asked for, space separated, or None to leave it to the server.
        state: Ties the answer to this request.
        challenge: `Pkce.challenge`.
        resource: The server the token is for (RFC 8707), or None to leave it out.
        extra: Further parameters, such as ``prompt``.
    """
    parts = urlsplit(endpoint)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    parameters.update(extra or {})
    ours = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": resource,
    }
    parameters.update({name: value for name, value in ours.items() if value})
    query = urlencode(parameters, quote_via=quote)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
