"""One answer of an authorization server: read within bounds, and judged as a document."""

from __future__ import annotations

import codecs
import json
import math
import time
import zlib
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx2

from mcp_notebook.redaction import printable, redact

MAX_BYTES = 256 * 1024
"""The greatest size of an answer, in bytes after decoding."""

LONGEST_WAIT = 86_400.0
"""The greatest Retry-After that is believed, in seconds."""

_HEAD = 4096


class TooLongError(Exception):
    """A body has more than `MAX_BYTES` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; its repr shows no more than status and address.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
        document: The body as a JSON object (or a form, in answer to a form), else None.
        problem: Why there is no document, as the end of "the answer …".
        text: The first printable characters of the body, for messages; credentials taken out.
        address: Where it came from.
        retry_after: How many seconds the server asks to wait, where it does.
    """

    status: int
    headers: httpx2.Headers = field(repr=False)
    document: dict[str, Any] | None = field(repr=False)
    problem: str = field(repr=False)
    text: str = field(repr=False)
    address: str
    retry_after: float | None = field(repr=False)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later (RFC 9110 §15.6, RFC 6585 §4)."""
        return self.status in {408, 429} or self.status >= 500

    @property
    def absent(self) -> bool:
        """Whether the server says there is no such document."""
        return 400 <= self.status < 500 and not self.passing


def retry_after(headers: httpx2.Headers) -> float | None:
    """Returns the seconds a server asks to wait (RFC 9110 §10.2.3), or None.

    Takes seconds or an HTTP date; at most a day, and 0 for a date gone by; nonsense is None.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def parse_json(body: bytes) -> dict[str, Any]:
    """Returns a JSON object of UTF-8 text (RFC 8259).

    Raises:
        ValueError: It is no such object, names a member twice (parsers differ on which counts),
            holds NaN or infinite numbers, or is nested too deeply.
    """
    try:
        value = json.loads(
            body.removeprefix(codecs.BOM_UTF8).decode("utf-8"),
            object_pairs_hook=_once,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


async def read_body(response: httpx2.Response) -> bytes:
    """Returns a body; stops at the limit, before and after decompression.

    Raises:
        TooLongError: It is longer.
        httpx2.DecodingError: It is compressed in a way that was not asked for.
        zlib.error: It is not what it says it is.
    """
    raw = bytearray()
    async for piece in response.aiter_raw():
        raw += piece
        if len(raw) > MAX_BYTES:
            raise TooLongError
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"", "identity"}:
        return bytes(raw)
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise httpx2.DecodingError(f"content coding {printable(coding, 20)} was not asked for")
    inflater = zlib.decompressobj(wbits=47)  # zlib or gzip, told by the header
    body = inflater.decompress(bytes(raw), MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise TooLongError
    return body


def judge(response: httpx2.Response, body: bytes, url: str, *, form_allowed: bool) -> Reply:
    """Returns the answer as a value.

    Args:
        response: Its status and headers.
        body: Its body, decoded.
        url: Where it came from.
        form_allowed: Whether a form counts as a document (GitHub answers token requests so).
    """
    document, problem = None, ""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if form_allowed and kind == "application/x-www-form-urlencoded":
            document = _once(parse_qsl(body.decode("utf-8"), max_num_fields=100))
        else:
            document = parse_json(body)
    except ValueError:
        problem = "is empty" if not body else _not_json(kind)
    return Reply(
        status=response.status_code,
        headers=response.headers,
        document=document,
        problem=problem,
        text=redact(printable(body[:_HEAD].decode("utf-8", "replace"), _HEAD)),
        address=url,
        retry_after=retry_after(response.headers),
    )


def _not_json(kind: str) -> str:
    if kind in {"", "application/json"}:
        return "is not a JSON object"
    return f"is not a JSON object but {printable(kind, 40)}"
