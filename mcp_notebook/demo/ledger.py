"""What the demo's authorization server remembers: clients, grants, and hashes of tokens.

A token is 256 random bits and is known by its SHA-256 alone, so neither memory nor the file can
give one away. With a file, a later run of the demo goes on where the last one stopped: whoever
was signed in still is.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcp_notebook.config.places import write_private

REFRESH_SECONDS = 30 * 24 * 3600
MOST_CLIENTS = 200


@dataclass(kw_only=True)
class Client:
    """A registered client (RFC 7591). `secret` is a hash; None for a public client."""

    name: str
    method: str
    redirect_uris: list[str]
    secret: str | None = None


@dataclass(kw_only=True)
class Grant:
    """What a person approved once; all tokens that come of it end with it."""

    client_id: str
    scope: str
    resource: str


@dataclass(kw_only=True)
class Token:
    """One token, kept under its hash. A spent refresh token is kept to notice a second use."""

    kind: Literal["access", "refresh"]
    grant: str
    ends: float
    spent: bool = False


@dataclass(kw_only=True)
class Ledger:
    """Clients, grants and tokens, kept in a file (0600) where one is given."""

    path: Path | None = None
    access_seconds: float = 3600
    clients: dict[str, Client] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def load(self) -> None:
        """Reads the file; one that is missing or damaged counts as empty."""
        if self.path is None:
            return
        try:
            document = json.loads(self.path.read_bytes())
            clients = {name: Client(**value) for name, value in document["clients"].items()}
            grants = {name: Grant(**value) for name, value in document["grants"].items()}
            tokens = {name: Token(**value) for name, value in document["tokens"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return
        self.clients, self.grants, self.tokens = clients, grants, tokens

    def save(self) -> None:
        """Drops what has ended, and writes the rest."""
        now = time.time()
        self.tokens = {
            name: token
            for name, token in self.tokens.items()
            if token.ends > now and token.grant in self.grants
        }
        alive = {token.grant for token in self.tokens.values()}
        self.grants = {name: grant for name, grant in self.grants.items() if name in alive}
        if self.path is None:
            return
        document = {
            part: {name: asdict(value) for name, value in getattr(self, part).items()}
            for part in ("clients", "grants", "tokens")
        }
        write_private(self.path, json.dumps(document).encode())

    def register(self, *, name: str, method: str, redirect_uris: list[str]) -> tuple[str, str]:
        """Makes a client and returns its id and its secret (``""`` for a public one)."""
        client_id, secret = secrets.token_urlsafe(12), ""
        client = Client(name=name, method=method, redirect_uris=redirect_uris)
        if method != "none":
            secret = secrets.token_urlsafe(32)
            client.secret = digest(secret)
        while len(self.clients) >= MOST_CLIENTS:
            del self.clients[next(iter(self.clients))]
        self.clients[client_id] = client
        self.save()
        return client_id, secret

    def issue(self, grant: Grant, *, name: str | None = None) -> tuple[str, dict[str, Any]]:
        """Makes an access and a refresh token for a grant.

        Args:
            grant: What they stand for.
            name: The name the grant has already; None for a new grant.

        Returns:
            The grant's name, and the token answer (RFC 6749 §5.1).
        """
        name = name or secrets.token_hex(8)
        self.grants[name] = grant
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now = time.time()
        self.tokens[digest(access)] = Token(
            kind="access", grant=name, ends=now + self.access_seconds
        )
        self.tokens[digest(refresh)] = Token(kind="refresh", grant=name, ends=now + REFRESH_SECONDS)
        self.save()
        return name, {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self.access_seconds),
            "refresh_token": refresh,
            "scope": grant.scope,
        }

    def rotate(self, refresh: str, client_id: str) -> dict[str, Any] | None:
        """Spends a refresh token for a new pair (RFC 9700 §4.14.2).

        Returns:
            The token answer; None if the token is no good. One that was spent before ends the
            whole grant, since either its thief or its owner is asking.
        """
        token = self._alive(refresh, "refresh")
        if token is None or self.grants[token.grant].client_id != client_id:
            return None
        if token.spent:
            self.revoke_grant(token.grant)
            return None
        token.spent = True
        return self.issue(self.grants[token.grant], name=token.grant)[1]

    def access(self, text: str) -> tuple[Token, Grant] | None:
        """Returns what an access token stands for, or None if it is no good."""
        token = self._alive(text, "access")
        return None if token is None else (token, self.grants[token.grant])

    def revoke(self, text: str, client_id: str) -> None:
        """Ends a token of this client (RFC 7009 §2.1); a refresh token ends its whole grant."""
        token = self.tokens.get(digest(text))
        if token is None or self.grants[token.grant].client_id != client_id:
            return
        if token.kind == "refresh":
            self.revoke_grant(token.grant)
        else:
            del self.tokens[digest(text)]
            self.save()

    def revoke_grant(self, name: str) -> None:
        """Ends a grant with all of its tokens."""
        self.grants.pop(name, None)
        self.save()

    def _alive(self, text: str, kind: str) -> Token | None:
        token = self.tokens.get(digest(text))
        if token is None or token.kind != kind or token.ends < time.time():
            return None
        return token if token.grant in self.grants else None


def digest(text: str) -> str:
    """Returns the SHA-256 of a secret, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
