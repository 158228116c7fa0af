"""What may be shown, logged or saved.

Text that came from outside (a server, an authorization server, a browser) goes through
`printable` before a person sees it; anything that may hold a credential goes through `redact`.
What is known to be one, because it was filled in from a variable, is taken out wherever it occurs.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from urllib.parse import quote

_TELLING = (
    "access_token|refresh_token|id_token|client_secret|code_verifier|assertion|client_assertion|"
    "device_code|subject_token|registration_access_token|token|password|[a-z]*api_?key|session_?id"
)
_DOUBTFUL = "code|state|sig|signature"  # words of any error as well: there the value decides
_IN_QUERY = re.compile(
    rf"(?i)\b((?:{_TELLING})(?==)|(?:{_DOUBTFUL})(?==[^&\s\"'<>]{{8}}))=[^&\s\"'<>]+"
)
_OPAQUE = r"[\"']\s*:\s*[\"'](?=[^\"']*\d)[^\"'\s]{16}"
_IN_JSON = re.compile(
    rf"(?i)([\"'](?:(?:{_TELLING})|(?:{_DOUBTFUL})(?={_OPAQUE}))[\"']\s*:\s*)[\"'][^\"']*[\"']"
)
_IN_HEADER = re.compile(r"(?i)\b(Bearer|DPoP|Basic)\s+[A-Za-z0-9\-._~+/]{6,}=*")
# As the HTTP client logs the headers of an answer, and the SDK the session it was given.
_IN_FIELDS = re.compile(
    r"(?i)(b?['\"](?:set-cookie|cookie|authorization|mcp-session-id)['\"], b?)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
)
_SESSION = re.compile(r"(?i)\b(session id:? )\S+")
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_LINE_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


_concealed: tuple[str, ...] = ()
_MOST_CONCEALED = 100
_SHORTEST_CONCEALED = 8


def conceal(value: str) -> None:
    """Has `redact` take a value out of every text from now on.

    Plain words and short values are left: they may stand in any sentence.

    Args:
        value: What a variable holds that is sent to a server or handed to a program.
    """
    global _concealed
    if len(value) < _SHORTEST_CONCEALED or value.isalpha() or value in _concealed:
        return
    # Replaced as a whole, as other threads may be reading it.
    _concealed = tuple(dict.fromkeys((value, quote(value, safe=""), *_concealed)))[:_MOST_CONCEALED]


def without_concealed(text: str) -> str:
    """Returns the text with what is known to be a secret replaced by ``***``, and nothing else."""
    for value in sorted(_concealed, key=len, reverse=True):  # a value before its own parts
        text = text.replace(value, "***")
    return text


def redact(text: str) -> str:
    """Returns the text with everything that looks like a credential replaced by ``***``."""
    text = without_concealed(text)
    text = _IN_FIELDS.sub(r"\1***", text)
    text = _SESSION.sub(r"\1***", text)
    text = _IN_QUERY.sub(r"\1=***", text)
    text = _IN_JSON.sub(r'\1"***"', text)
    return _IN_HEADER.sub(r"\1 ***", text)


def printable(text: str, limit: int = 200, *, ascii_only: bool = False) -> str:
    """Returns foreign text as one harmless line.

    Escape sequences, control, bidirectional and zero-width characters are dropped, white space is
    folded, and what is longer than `limit` characters is cut with an ellipsis.

    Args:
        text: What somebody else sent.
        limit: The greatest length of the answer, in characters.
        ascii_only: Drop everything outside printable ASCII, as RFC 6749 §5.2 allows no more in
            ``error_description``.
    """
    text = _ESCAPE_SEQUENCE.sub("", text[: limit * 20])
    kept = []
    for character in text:
        if character in "\t\n\r":
            kept.append(" ")
        elif _is_invisible(character) or (ascii_only and not 0x20 <= ord(character) <= 0x7E):
            continue
        else:
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clean_lines(text: str) -> str:
    """Returns foreign text with its lines and tabs, and nothing in it that moves or hides text.

    Escape sequences (colours, OSC 8 links, OSC 52 clipboard writes), control, bidirectional and
    zero-width characters are dropped. A lone carriage return, which would overwrite what stands
    before it, becomes a line break. The work is linear in the text: cut it first.
    """
    text = _ESCAPE_SEQUENCE.sub("", text)
    text = _LINE_BREAK.sub("\n", text)
    return "".join(c for c in text if c in "\t\n" or not _is_invisible(c))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE


class RedactingFilter(logging.Filter):
    """Takes credentials out of log records, the arguments of the record included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record in place; never drops one."""
        try:
            message = record.getMessage()
        except Exception:  # a broken log call must not break the caller
            return True
        cleaned = redact(message)
        if cleaned != message or record.exc_info:
            record.msg, record.args = cleaned, None
        # A pydantic error carries the whole token answer as `input_value`: the type is enough.
        if record.exc_info and record.exc_info[0] is not None:
            record.msg = f"{cleaned} ({record.exc_info[0].__name__})"
            record.exc_info = None
            record.exc_text = None
        return True
