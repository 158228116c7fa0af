"""Reads ``WWW-Authenticate`` by its grammar (RFC 9110 §11.6.1), not by searching it.

A header field may carry several challenges, and a server may send several fields. What stands
inside a quoted string, in another scheme's challenge or under a longer name is never mistaken for
a parameter of ours: an ``error_description`` can hold text of anybody's.
"""

from __future__ import annotations

import re
from dataclasses import replace

import httpx2

from mcp_notebook.auth.metadata import Challenge

MAX_LENGTH = 8192
"""How much of all fields together is read, in characters."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 §5.6.2
_GAP = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(
    rf"(?P<name>{_WORD})[ \t]*=[ \t]*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"'
    # Beyond the grammar: addresses and empty values without quotes are sent in the wild.
    r'|(?P<plain>[^ \t,"=][^ \t,"]*)|(?P<empty>(?=[ \t]*(?:,|$))))'
)
_SCHEME = re.compile(rf"(?P<scheme>{_WORD})(?:[ \t]+|(?=,)|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_UNREADABLE = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|$)|[^,"])+')
_QUOTED_PAIR = re.compile(r"\\(.)")


def bearer_challenge(headers: httpx2.Headers) -> Challenge | None:
    """Returns the challenge that asks for an OAuth token (RFC 6750 §3, RFC 9449 §7.1), or None.

    Where there are several, one that names an error comes first, then one that names the metadata;
    a ``resource_metadata`` or ``scope`` that only another of them names is taken from there.

    Args:
        headers: The headers of a 401 or 403 answer.
    """
    fields = headers.get_list("www-authenticate")
    found = [
        _challenge(scheme, parameters)
        for scheme, parameters in parse(", ".join(fields))
        if scheme in {"bearer", "dpop"}
    ]
    if not found:
        return None
    found.sort(key=lambda item: (item.error is None, item.resource_metadata is None))
    address = next((item.resource_metadata for item in found if item.resource_metadata), None)
    scope = next((item.scope for item in found if item.scope), None)
    return replace(found[0], resource_metadata=address, scope=scope)


def _challenge(scheme: str, parameters: dict[str, str]) -> Challenge:
    return Challenge(
        scheme=scheme,
        resource_metadata=parameters.get("resource_metadata") or None,
        scope=parameters.get("scope") or None,
        error=parameters.get("error") or None,
        error_description=parameters.get("error_description") or None,
        parameters=parameters,
    )


def parse(text: str) -> list[tuple[str, dict[str, str]]]:
    """Returns the challenges of a field as (scheme, parameters), names in lower case.

    A parameter given twice keeps its first value; what cannot be read is skipped up to the next
    comma outside of quotes.
    """
    if len(text) > MAX_LENGTH:
        text = text[:MAX_LENGTH].rpartition(",")[0]
    challenges: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(text):
        gap = _GAP.match(text, at)
        at = gap.end() if gap else at
        if parameter := _PARAMETER.match(text, at):
            at = parameter.end()
            if challenges:
                challenges[-1][1].setdefault(parameter["name"].lower(), _value(parameter))
        elif scheme := _SCHEME.match(text, at):
            challenges.append((scheme["scheme"].lower(), {}))
            at = scheme.end()
            if credentials := _TOKEN68.match(text, at):
                at = _after_token68(text, at, credentials)
        elif unreadable := _UNREADABLE.match(text, at):
            at = unreadable.end()
        else:
            break
    return challenges


def _after_token68(text: str, at: int, credentials: re.Match[str]) -> int:
    # `Negotiate YWJj==` has credentials; in `Bearer realm=` the same shape is an empty parameter,
    # and in `Basic, Bearer` it is the next scheme.
    if _PARAMETER.match(text, at):
        return at
    return credentials.end()


def _value(parameter: re.Match[str]) -> str:
    if parameter["quoted"] is not None:
        return _QUOTED_PAIR.sub(r"\1", parameter["quoted"])
    return parameter["plain"] or ""
