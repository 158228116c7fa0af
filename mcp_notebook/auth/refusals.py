"""What an authorization server means when it says no (RFC 6749 §5.2, RFC 7591 §3.2.2).

The answer is foreign text: only its error code and description are shown, as one printable line,
and not even that where it repeats a secret we sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from mcp_notebook.auth.reply import Reply
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import printable, redact

_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,80}")
_PASSING_CODES = frozenset({"temporarily_unavailable", "server_error"})

_HINTS = {
    "invalid_client": "It does not know this client. Sign in with %mcp sign-in NAME "
    "--register-again, or check --client-id, the client secret and --auth-method.",
    "unauthorized_client": "Its operator has to allow this client the kind of sign-in that was "
    "chosen (--grant).",
    "invalid_grant": "Sign in again with %mcp sign-in NAME.",
    "invalid_scope": 'Ask for less, or for what the server offers, with --scope "…".',
    "invalid_target": "It does not know the server as a resource. Leave the resource out with "
    "--resource off, or give the one it knows.",
    "unsupported_grant_type": "Choose another kind of sign-in with --grant.",
    "invalid_dpop_proof": "Check this machine's clock, or sign in without proofs: --dpop off.",
    "unsupported_token_type": "It cannot revoke this kind of token.",
}


def refusal(
    reply: Reply, what: str, *, secrets: Iterable[str] = (), hint: str = ""
) -> AuthorizationServerError:
    """Returns the error that an answer other than success stands for.

    Args:
        reply: The answer.
        what: What was asked for: "client registration".
        secrets: What was sent and must not come back in a message.
        hint: What to do, where the caller knows better than the code's own hint.
    """
    document = reply.document or {}
    code = _text(document, "error")
    code = code if _CODE.fullmatch(code) else ""
    said = _text(document, "error_description") or ("" if document else _plain(reply))
    passing = reply.passing or code in _PASSING_CODES
    if passing and not hint:
        hint = _patience(reply.retry_after)
    message = f"{host_of(reply.address)} refused the {what} ({code or reply.status})"
    shown = _safe(said, secrets)
    return AuthorizationServerError(
        f"{message}: {shown}" if shown else f"{message}.",
        hint=hint or _HINTS.get(code, "See each step with %mcp doctor NAME."),
        code=code,
        status=reply.status,
        retry_after=reply.retry_after,
        passing=passing,
    )


def is_refusal(reply: Reply) -> bool:
    """Tells whether an answer is no success; GitHub sends errors with status 200."""
    return not 200 <= reply.status < 300 or bool(_text(reply.document or {}, "error"))


def _text(document: dict[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _plain(reply: Reply) -> str:
    """A short text that is no page: Figma says "Forbidden", a gateway sends HTML."""
    return "" if "<" in reply.text[:200] else reply.text


def _safe(said: str, secrets: Iterable[str]) -> str:
    whole = printable(said, 8192, ascii_only=True)
    for secret in secrets:
        if secret and (secret in whole or secret in unquote_plus(whole)):
            return ""
    return printable(redact(whole), 200, ascii_only=True)


def _patience(retry_after: float | None) -> str:
    if retry_after is None:
        return "The server has trouble; try again in a while. No sign-in is lost."
    return f"Try again in {max(1, round(retry_after))} s. No sign-in is lost."
