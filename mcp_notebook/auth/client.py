"""A client as one authorization server knows it, and how it proves itself there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mcp_notebook.auth.environment import private_key_from
from mcp_notebook.auth.record import Registration, TokenRecord
from mcp_notebook.config.servers import OAuthSettings
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import printable

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628 §3.4; named at registration as well as at the token endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RegisteredClient:
    """A client that one authorization server knows, and how it proves itself there.

    Attributes:
        client_id: Its name at the authorization server.
        client_secret: Its secret; None for a public client or one with a key.
        client_secret_expires_at: Seconds since the epoch, or None for never.
        auth_method: The one method it authenticates with at the token endpoint.
        registration: How it came to be known.
        redirect_uri: Where browsers are sent back to; None for grants without a browser.
        private_key: PEM, for ``private_key_jwt``; never kept in a store.
        signing_algorithm: What the key signs with.
    """

    client_id: str
    client_secret: str | None = None
    client_secret_expires_at: float | None = None
    auth_method: str = "none"
    registration: Registration = "dcr"
    redirect_uri: str | None = None
    private_key: str | None = None
    signing_algorithm: str = "ES256"

    def __repr__(self) -> str:
        return (
            f"<RegisteredClient {printable(self.client_id, 80)!r} "
            f"({self.registration}, {self.auth_method})>"
        )

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a RegisteredClient holds secrets and is not pickled")

    @classmethod
    def of(cls, record: TokenRecord, oauth: OAuthSettings | None = None) -> RegisteredClient:
        """Returns the client of a record; `oauth` names the key of ``private_key_jwt``.

        Raises:
            ServerConfigError: The client signs with a private key, which is not there.
        """
        client = cls(
            client_id=record.client_id,
            client_secret=record.client_secret,
            client_secret_expires_at=record.client_secret_expires_at,
            auth_method=record.auth_method,
            registration=record.registration,
            redirect_uri=record.redirect_uri,
        )
        if record.auth_method != "private_key_jwt":
            return client
        return with_key(client, oauth or OAuthSettings())


def with_key(client: RegisteredClient, oauth: OAuthSettings) -> RegisteredClient:
    """Returns the client with its private key, read from the variable the settings name.

    Raises:
        ServerConfigError: No variable is named, or it holds no private key.
    """
    if not oauth.private_key_env:
        raise ServerConfigError(
            "The client authenticates with a private key, and no variable for it is named.",
            hint="Add the server again with --private-key-env NAME.",
        )
    key = private_key_from(oauth.private_key_env)
    return replace(client, private_key=key, signing_algorithm=oauth.signing_algorithm)
