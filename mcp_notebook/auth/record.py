"""What is kept of one sign-in: the client and its tokens, one atomic record per server name."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

SCHEMA = 1

Registration = Literal["preregistered", "cimd", "dcr"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TokenRecord:
    """The one thing that survives a restart.

    It holds all that a refresh needs, so that a fresh process asks nobody but the token endpoint,
    and it is bound: `load` refuses a record whose `resource` is not the server it is asked for.

    Attributes:
        server: The server's name in the book.
        resource: The server's URL the tokens are for.
        resource_parameter: The ``resource`` sent to the authorization server (RFC 8707), if any.
        issuer: The authorization server the client and the tokens belong to, as it wrote itself.
        authorization_endpoint: Remembered with the record, as are the other endpoints.
        token_endpoint: The only address a refresh token may be sent to.
        client_id: Who we are to the issuer.
        registration: How the client came to be known.
        client_secret: Where the client has one.
        client_secret_expires_at: Seconds since the epoch, or None for never (RFC 7591 §3.2.1).
        auth_method: How the client authenticates at the token endpoint; exactly one is used.
        redirect_uri: The one the client was registered with; its port is bound again.
        access_token: None for a client that is registered but not signed in.
        refresh_token: None where the authorization server gave none.
        expires_at: Seconds since the epoch, or None where nothing was said.
        scope: What was granted, space separated.
        dpop_key: The private key tokens are bound to, as a JWK (RFC 9449), if they are.
        generation: Counts the writes; a write is accepted only upon the generation it was made of.
    """

    server: str
    resource: str
    issuer: str
    token_endpoint: str
    client_id: str
    resource_parameter: str | None = None
    authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    registration_endpoint: str | None = None
    registration: Registration = "dcr"
    client_secret: str | None = None
    client_secret_expires_at: float | None = None
    auth_method: str = "none"
    redirect_uri: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_at: float | None = None
    scope: str | None = None
    dpop_key: str | None = None
    generation: int = 0

    def __repr__(self) -> str:
        held = [name for name in ("access_token", "refresh_token") if getattr(self, name)]
        return (
            f"<TokenRecord {self.server!r} of {self.issuer}, "
            f"{' and '.join(held) or 'no tokens'}, generation {self.generation}>"
        )

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a TokenRecord holds secrets and is not pickled")

    def expires_within(self, seconds: float) -> bool:
        """Tells whether the access token is known to expire within so many seconds from now."""
        return self.expires_at is not None and self.expires_at - time.time() <= seconds

    def without_tokens(self) -> Self:
        """Returns the record of the same client, signed out."""
        return replace(self, access_token=None, refresh_token=None, expires_at=None, scope=None)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a JSON object, secrets included: for stores only."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"schema": SCHEMA, **{k: v for k, v in values.items() if v is not None}}

    @classmethod
    def from_json(cls, document: Any) -> Self | None:
        """Returns the record a store holds, or None where it is not one of ours.

        A newer schema, a missing member or a value of another type reads as absent rather than
        as half a sign-in.
        """
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            return None
        known = {item.name: item for item in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        for key, value in values.items():
            expected = str(known[key].type)
            number = "float" in expected or expected == "int"
            if isinstance(value, bool) or not isinstance(value, (int, float) if number else str):
                return None
        try:
            return cls(**values)
        except TypeError:
            return None
