"""Reading a listing to its end, if it has one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)

PAGES = 100
ITEMS = 10_000
"""Pages and items of a listing that are read at most; a cursor that never ends is cut off."""


async def pages(fetch: Callable[[str | None], Awaitable[Any]], member: str) -> list[Any]:
    """Returns the items of all pages of a listing.

    Args:
        fetch: Asks for one page, given its cursor.
        member: The member of a page that holds the items.
    """
    items: list[Any] = []
    seen: set[str | None] = set()
    cursor: str | None = None
    for _ in range(PAGES):
        page = await fetch(cursor)
        items += getattr(page, member)
        seen.add(cursor)
        cursor = page.next_cursor
        if cursor is None or cursor in seen:
            return items[:ITEMS]
        if len(items) >= ITEMS:
            break
    logger.warning("a server lists more %s than are read", member)
    return items[:ITEMS]
