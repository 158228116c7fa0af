"""What can be odd about an authorization server. All of it may be turned while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(kw_only=True)
class AuthorityKnobs:
    # the person
    auto_approve: bool = False
    """``/authorize`` answers 302 with a code at once, no consent page."""
    deny: bool = False
    """The person always says no, whatever is clicked."""

    # metadata
    issuer_path: str = ""
    """``"/tenant1"``: the issuer has a path, and the well-known addresses go with it."""
    issuer: str | None = None
    """What the metadata says in place of the true issuer."""
    well_known: tuple[str, ...] = ("oauth", "oidc_inserted", "oidc_appended")
    """Which of the three metadata addresses are there."""
    metadata_overrides: dict[str, Any] = field(default_factory=dict)
    """Members laid over the metadata; a value of None takes the member out."""
    no_s256: bool = False
    scopes_supported: tuple[str, ...] | None = None
    auth_methods: tuple[str, ...] = ("none", "client_secret_basic", "client_secret_post")
    iss_advertised: bool = True
    iss: str | None = "right"
    """``iss`` of the authorization response: right, not sent (None), or this text."""
    state: str | None = "right"
    """``state`` of the authorization response, likewise."""

    # registration
    no_registration: bool = False
    registration_refuses: (
        tuple[int, dict[str, Any]]
        | Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]
        | None
    ) = None
    registration_overrides: dict[str, Any] = field(default_factory=dict)
    initial_access_token: str | None = None
    secret_lifetime: int | None = None
    """Seconds until a registered secret ends; None: never (``client_secret_expires_at`` 0)."""
    cimd: Literal[False, True, "refused"] = False
    """Client ID metadata documents: not offered, taken, or offered and then refused."""

    # tokens
    token_lifetime: float = 3600
    no_expiry: bool = False
    """Token answers do not say ``expires_in``."""
    no_refresh_token: bool = False
    rotate: bool = True
    reuse_detection: bool = True
    """A refresh token used twice revokes the whole family (RFC 9700 §4.14.2)."""
    granted_scope: str | None = None
    """What is granted, whatever was asked."""
    default_scope: str = "tools"
    """What is granted where nothing was asked."""
    refused_scopes: tuple[str, ...] = ()
    """Scopes that are answered ``invalid_scope``, in the browser and on the wire."""
    token_overrides: dict[str, Any] = field(default_factory=dict)
    form_encoded_tokens: bool = False
    error_with_200: bool = False
    """Errors of the token endpoint come with status 200, as GitHub sends them."""
    no_revocation: bool = False
    lose_next_token_answer: int = 0
    """So many token answers are lost: the grant is carried out, the connection is cut."""
    dpop: bool = False
    dpop_nonce: str | None = None
    """The nonce that DPoP proofs must hold (RFC 9449 §8)."""

    # device code
    no_device: bool = False
    device_interval: int = 1
    device_lifetime: int = 600
    slow_down: int = 0
    """So many polls are answered ``slow_down``."""

    # the network
    slow: float = 0
    """Seconds that every answer takes."""
    slow_paths: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    """Paths that always answer with a status."""
