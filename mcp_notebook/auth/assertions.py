"""What a client signs: key proofs that bind tokens to it (DPoP), and assertions of who it is."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from mcp_notebook.errors import ServerConfigError, SignInError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ALGORITHM = "ES256"
"""The algorithm of every DPoP proof; each server that speaks RFC 9449 knows it."""

_ASSERTION_LIFETIME = 120
"""Seconds; RFC 7523 §3 wants it short, and clocks differ."""

_ASYMMETRIC = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
)


class DpopKey:
    """A P-256 key that access tokens are bound to (RFC 9449). Never shown and never pickled."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        from jwt.algorithms import ECAlgorithm

        self._key = key
        self._public: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)

    @classmethod
    def generate(cls) -> Self:
        """Returns a fresh key."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_jwk(cls, text: str) -> Self:
        """Returns the key that `to_jwk` wrote.

        Raises:
            SignInError: The text is no private P-256 key.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from jwt.algorithms import ECAlgorithm
        from jwt.exceptions import InvalidKeyError

        try:
            key = ECAlgorithm.from_jwk(text)
        except (InvalidKeyError, ValueError, TypeError, AttributeError):  # the last for a JSON list
            key = None
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise SignInError(
                "The key that the stored tokens are bound to cannot be read.",
                hint="Sign in again with %mcp sign-in NAME.",
            ) from None
        return cls(key)

    def to_jwk(self) -> str:
        """Returns the private key as a JWK (RFC 7517), for the token store only."""
        from jwt.algorithms import ECAlgorithm

        return json.dumps(ECAlgorithm.to_jwk(self._key, as_dict=True))

    @property
    def thumbprint(self) -> str:
        """The SHA-256 thumbprint of the public key (RFC 7638), as in ``dpop_jkt``."""
        members = {name: self._public[name] for name in ("crv", "kty", "x", "y")}
        return _hash(json.dumps(members, separators=(",", ":")))

    def proof(
        self, method: str, url: str, *, access_token: str | None = None, nonce: str | None = None
    ) -> str:
        """Returns the value of the ``DPoP`` header for one request (RFC 9449 §4.2).

        Args:
            method: The HTTP method of the request.
            url: Its address; query and fragment do not count.
            access_token: The token sent along, to which the proof is tied (``ath``).
            nonce: What the server gave in ``DPoP-Nonce`` (§8, §9).
        """
        import jwt

        parts = urlsplit(url)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method.upper(),
            "htu": urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            "iat": int(time.time()),
        }
        if access_token is not None:
            claims["ath"] = _hash(access_token)
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": "dpop+jwt", "jwk": self._public}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=headers)

    def __repr__(self) -> str:
        return f"<DpopKey {self.thumbprint}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a DpopKey holds a private key and is not pickled")


def client_assertion(client_id: str, audience: str, private_key_pem: str, algorithm: str) -> str:
    """Returns a JWT that authenticates a client (RFC 7523 §2.2, ``private_key_jwt``).

    Args:
        client_id: Who it is; both ``iss`` and ``sub``.
        audience: The authorization server's issuer identifier. RFC 7523bis allows nothing else, so
            that one server cannot use the assertion at another.
        private_key_pem: The client's private key.
        algorithm: How to sign, one of the asymmetric algorithms of RFC 7518.

    Raises:
        ServerConfigError: The key cannot be read, or does not fit the algorithm.
    """
    import jwt

    if algorithm not in _ASYMMETRIC:
        raise ServerConfigError(
            "The signing algorithm is none that a private key signs with.",
            hint="--signing-algorithm takes ES256, RS256, PS256, EdDSA and their longer forms.",
        )
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + _ASSERTION_LIFETIME,
    }
    try:
        return jwt.encode(claims, private_key_pem, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ServerConfigError(
            f"The client's private key cannot sign with {algorithm}.",
            hint="Check the variable of --private-key-env (PEM, without a passphrase) and "
            "--signing-algorithm.",
        ) from None


def assertion_audiences(assertion: str) -> tuple[str, ...]:
    """Returns for whom a JWT was made (``aud``, RFC 7519 §4.1.3), unverified; may be empty.

    Raises:
        ServerConfigError: It is no JWT.
    """
    import jwt

    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
        audience = claims.get("aud", ())
    except jwt.PyJWTError:
        raise ServerConfigError(
            "What was given as the workload's assertion is not a JWT.",
            hint="Check the variable of --assertion-env (RFC 7523).",
        ) from None
    listed = [audience] if isinstance(audience, str) else audience
    return tuple(item for item in listed if isinstance(item, str))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
