"""Judges single values out of JSON that an authorization server sent."""

from __future__ import annotations

import math
import re
from typing import TypeGuard

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_VISIBLE_OR_SPACE = re.compile(r"[\x20-\x7e]+")


def is_visible(value: object, limit: int, *, spaces: bool = False) -> TypeGuard[str]:
    """Tells whether a value is text of visible ASCII, as RFC 6749 appendix A builds its values.

    Such text can stand in a header or a form field: no line break, nothing outside ASCII.

    Args:
        value: Whatever stood in the document.
        limit: The greatest length, in characters.
        spaces: Whether a space may be in it.
    """
    pattern = _VISIBLE_OR_SPACE if spaces else _VISIBLE
    return isinstance(value, str) and len(value) <= limit and bool(pattern.fullmatch(value))


def number_of(value: object) -> float | None:
    """Returns a finite number, also one written as a string, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value[:40] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
