"""What servers say about themselves, as values: RFC 9728, RFC 8414 and the Bearer challenge."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The parameters of one ``WWW-Authenticate`` challenge (RFC 6750 §3, RFC 9728 §5.1)."""

    scheme: str = "bearer"
    resource_metadata: str | None = None
    scope: str | None = None
    error: str | None = None
    error_description: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedResource:
    """Protected resource metadata (RFC 9728 §2), or what stands for it where there is none."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...] | None = None
    dpop_bound: bool = False
    address: str | None = None
    """Where the document was found; ``None`` on servers of 2025-03-26, which have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    """Authorization server metadata (RFC 8414 §2 or OpenID Connect Discovery), as it was sent.

    `issuer` is the raw string of the document: RFC 9207 §2.4 compares it without normalisation.
    """

    issuer: str
    authorization_endpoint: str | None
    token_endpoint: str
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    scopes_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    grant_types_supported: tuple[str, ...] | None = None
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    client_id_metadata_document_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False
    address: str | None = None
    """Where the document was found; ``None`` for the defaults of 2025-03-26."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of discovery, registration or a token grant, as ``%mcp doctor`` shows it.

    Holds no secret: the address is shown without its query.
    """

    what: str
    rfc: str
    method: str
    address: str
    status: int | None
    found: str
    problem: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Who protects a server, and what is known of the chosen authorization server."""

    resource: ProtectedResource
    authorization_server: AuthorizationServer
    notes: tuple[str, ...] = ()
    """Sentences for the person: a dead authorization server that was skipped, and the like."""


def text_list(document: dict[str, Any], key: str) -> tuple[str, ...] | None:
    """Returns a JSON member as a tuple of strings, or None where it is absent or no such list."""
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # RFC 6749 §3.3, scope-token
_MAX_SCOPES = 100


def scope_list(document: dict[str, Any], key: str) -> tuple[str, ...] | None:
    """Returns a JSON member as scopes: what is no scope is left out, at most 100 are taken."""
    listed = text_list(document, key)
    if listed is None:
        return None
    return tuple(dict.fromkeys(item for item in listed if _SCOPE.fullmatch(item)))[:_MAX_SCOPES]
