"""The head of a request at the callback, read by hand: a plain navigation of a browser, or refused.

Only a `GET` without a body is welcome, and every other byte is refused.
"""

from __future__ import annotations

import re
from http import HTTPStatus

HEAD_LIMIT = 16 * 1024
"""Bytes a request may have; a single header has half of it."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/1\.[01]")
_FIELD_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2, token


class RefusedError(Exception):
    """A request that gets no further than its status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


def target_of(head: bytes, authority: str) -> tuple[str, str]:
    """Returns path and query of a request that may be looked at.

    Raises:
        RefusedError: It is no plain navigation of a browser to this very address.
    """
    first, *lines = head[:-4].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if len(line) > HEAD_LIMIT // 2:
            raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise RefusedError(HTTPStatus.BAD_REQUEST)
        fields.setdefault(name.lower(), []).append(value.strip())
    # A page that had its own name resolve to this machine shows it here (DNS rebinding).
    if fields.get(b"host") != [authority.encode()]:
        raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST)
    method, target = request.groups()
    if method != b"GET":
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED)
    has_body = any(length != b"0" for length in fields.get(b"content-length", ()))
    if has_body or b"transfer-encoding" in fields or not target.startswith(b"/"):
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    # Only a page the person goes to; not an <img>, a fetch(), a frame or a prefetch.
    asked_for = fields.get(b"sec-fetch-dest", [b"document"])
    if asked_for != [b"document"] or fields.keys() & {b"sec-purpose", b"purpose", b"x-moz"}:
        raise RefusedError(HTTPStatus.FORBIDDEN)
    path, _, query = target.decode("ascii").partition("?")
    return path, query
