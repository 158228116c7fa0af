"""The authorization response: one parser for what a browser brings and what a person pastes.

Pure functions. What they refuse they do not repeat: it may be somebody else's code.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

PARAMETERS = 32
"""Parameters an answer may have."""

CODE_LIMIT = 4096
"""Characters a code may have."""

TEXT_LIMIT = 16 * 1024
"""Characters that may be pasted."""

_KNOWN = (b"state", b"code", b"iss", b"error", b"error_description")
_CODE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.11


class UnusableAnswerError(Exception):
    """An answer that is refused; the sign-in goes on waiting. Repeats nothing of the answer."""

    def __init__(self, reason: str, *, wrong_state: bool = False) -> None:
        super().__init__(reason)
        self.wrong_state = wrong_state


@dataclass(frozen=True, slots=True, repr=False)
class AuthorizationResponse:
    """The parameters of the authorization response (RFC 6749 §4.1.2, RFC 9207 §2).

    Nothing in it but `state` has been judged: compare `iss` before anything else is used or shown.
    """

    code: str | None
    iss: str | None
    error: str | None
    error_description: str | None


def read_answer(query: str, state: bytes) -> AuthorizationResponse:
    """Reads an authorization response; the one parser for the socket and for pasted text.

    Args:
        query: The query of the redirect, without the question mark.
        state: What was sent in the authorization request.

    Raises:
        UnusableAnswerError: It is not the answer to that request, or not well formed.
    """
    pieces = [piece for piece in query.split("&") if piece]
    if len(pieces) > PARAMETERS:
        raise UnusableAnswerError("It has too many parameters.")
    found: dict[bytes, list[bytes]] = {}
    for piece in pieces:
        name, _, value = piece.replace("+", " ").partition("=")
        found.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    states = found.get(b"state", [])
    # As bytes: comparing text that is not ASCII raises. Before all else: RFC 6749 §10.12.
    if len(states) != 1 or not secrets.compare_digest(states[0], state):
        raise UnusableAnswerError(
            "It does not belong to the sign-in that is waiting.", wrong_state=True
        )
    if any(len(found.get(name, ())) > 1 for name in _KNOWN):
        raise UnusableAnswerError("A parameter is given twice (RFC 6749 §3.1).")
    try:
        values = {name: found[name][0].decode() for name in _KNOWN if name in found}
    except UnicodeDecodeError:
        raise UnusableAnswerError("It is not text.") from None
    code, error = values.get(b"code"), values.get(b"error")
    if bool(code) == bool(error):
        raise UnusableAnswerError("It holds neither a code nor an error, or both.")
    if code and (len(code) > CODE_LIMIT or not _CODE.fullmatch(code)):
        raise UnusableAnswerError("Its code is not one.")
    return AuthorizationResponse(
        code=code or None,
        iss=values.get(b"iss"),
        error=error or None,
        error_description=values.get(b"error_description"),
    )


def read_pasted(text: str, redirect_uri: str, state: bytes) -> AuthorizationResponse:
    """Reads the address a person copied from the browser, or its query with code and state.

    Args:
        text: What was pasted.
        redirect_uri: The address the browser was sent to.
        state: What was sent in the authorization request.

    Raises:
        UnusableAnswerError: It is not the answer to that request.
    """
    text = text.strip().strip("<>\"'")
    if not text or len(text) > TEXT_LIMIT or re.search(r"\s", text):
        raise UnusableAnswerError("It is not one address.")
    if not re.match(r"(?i)[a-z][a-z0-9+.-]*:", text):
        return read_answer(text.removeprefix("?").partition("#")[0], state)
    try:
        given, ours = urlsplit(text), urlsplit(redirect_uri)
    except ValueError:
        raise UnusableAnswerError("It is not an address.") from None
    if (given.scheme, given.netloc.lower(), given.path) != (ours.scheme, ours.netloc, ours.path):
        raise UnusableAnswerError("It is the address of another page.")
    return read_answer(given.query, state)
