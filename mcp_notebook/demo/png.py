"""Writes a picture as PNG with the standard library alone (W3C PNG, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUECOLOUR = 2


def png(rows: Sequence[bytes], *, width: int) -> bytes:
    """Returns a PNG of 8-bit RGB rows, top to bottom.

    Args:
        rows: One row of the picture each: ``width`` times red, green, blue.
        width: The picture's width in pixels.

    Raises:
        ValueError: A row is not ``3 * width`` bytes long.
    """
    if any(len(row) != 3 * width for row in rows):
        raise ValueError(f"every row must be {3 * width} bytes long")
    header = struct.pack(">IIBBBBB", width, len(rows), 8, TRUECOLOUR, 0, 0, 0)
    pixels = b"".join(b"\x00" + row for row in rows)  # \x00: the row is not filtered
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
