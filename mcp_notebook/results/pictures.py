"""Pictures and sounds from a server: what they are is read from their bytes, never believed.

A front end decodes what it is given, so nothing is shown whose kind or size is not known: PNG,
JPEG, GIF and WebP, WAV and MP3, up to 10 MiB, pictures up to 50 million pixels by their header (a
PNG of a few kilobytes may unfold to gigabytes). SVG may hold scripts, and is text here. Whatever
is not shown is still there as bytes.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp_notebook.redaction import printable

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, TextResourceContents

MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 50_000_000
_SVG = "image/svg+xml"
# A tag, or the first bytes of a frame: MPEG 1, 2 or 2.5, layer III.
_MP3 = (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")
# The markers of JPEG that begin a frame, and so give its size (ITU-T T.81, table B.1).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture that a tool answered with.

    Attributes:
        data: Its bytes, for instance for ``PIL.Image.open(io.BytesIO(picture.data))``.
        mime: What it is, by its bytes, such as ``image/png``; what the server said where the bytes
            tell nothing.
        width: In pixels; 0 where unknown.
        height: In pixels; 0 where unknown.
        problem: Why it is not shown, or ``""``.
    """

    data: bytes
    mime: str
    width: int
    height: int
    problem: str

    @property
    def size(self) -> str:
        """What it is and how big, such as ``PNG, 640 × 480, 12 KiB``."""
        pixels = f"{self.width:,} × {self.height:,}, " if self.width else ""
        return f"{_kind(self.mime)}, {pixels}{binary_size(len(self.data))}"

    @property
    def source(self) -> str:
        """Its text where it is text (SVG), or ``""``."""
        return self.data.decode("utf-8", "replace") if self.mime == _SVG else ""

    def __repr__(self) -> str:
        problem = f", not shown: {self.problem}" if self.problem else ""
        return f"<Picture {self.size}{problem}>"

    def _repr_mimebundle_(
        self,
        include: Any = None,  # noqa: ARG002 (IPython gives both)
        exclude: Any = None,  # noqa: ARG002
    ) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if not self.problem:
            bundle[self.mime] = base64.b64encode(self.data).decode()
        return bundle


@dataclass(frozen=True, repr=False)
class Sound:
    """A recording that a tool answered with.

    Attributes:
        data: Its bytes.
        mime: What it is, by its bytes: ``audio/wav`` or ``audio/mpeg``; what the server said where
            the bytes tell nothing.
        problem: Why it cannot be played here, or ``""``.
    """

    data: bytes
    mime: str
    problem: str

    @property
    def size(self) -> str:
        """What it is and how big, such as ``WAV, 1.2 MiB``."""
        return f"{_kind(self.mime)}, {binary_size(len(self.data))}"

    def __repr__(self) -> str:
        problem = f", not played: {self.problem}" if self.problem else ""
        return f"<Sound {self.size}{problem}>"


def read_picture(encoded: str, said: str | None) -> Picture:
    """Reads a picture out of base64.

    Args:
        encoded: What the server sent; what is no base64 makes a picture without bytes.
        said: The MIME type that the server names. It decides nothing but whether text is SVG.
    """
    data, problem = _decode(encoded)
    mime = picture_kind(data)
    if not mime:
        mime = _SVG if (said or "").lower().startswith(_SVG) else _safe_mime(said)
        reason = "SVG can hold scripts" if mime == _SVG else "its bytes are no PNG, JPEG, GIF, WebP"
        return Picture(data, mime, 0, 0, problem or reason)
    width, height = _dimensions(data, mime)
    if not width or not height:
        problem = "its size cannot be read"
    elif width * height > MAX_PIXELS:
        problem = f"it has more than {MAX_PIXELS // 1_000_000} million pixels"
    elif len(data) > MAX_BYTES:
        problem = f"it is larger than {binary_size(MAX_BYTES)}"
    return Picture(data, mime, width, height, problem)


def read_resource_picture(
    resource: TextResourceContents | BlobResourceContents,
) -> Picture | None:
    """Reads the picture that a resource is, or ``None`` where it is something else."""
    blob = getattr(resource, "blob", None)
    if blob is None:
        return None
    said = (resource.mime_type or "").lower()
    if said.startswith("image/") or picture_kind(_decode(blob[:32])[0]):
        return read_picture(blob, said)
    return None


def read_sound(encoded: str, said: str | None) -> Sound:
    """Reads a recording out of base64; see `read_picture`."""
    data, problem = _decode(encoded)
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        mime = "audio/wav"
    elif data.startswith(_MP3):
        mime = "audio/mpeg"
    else:
        return Sound(data, _safe_mime(said), problem or "its bytes are no WAV or MP3")
    if len(data) > MAX_BYTES:
        problem = f"it is larger than {binary_size(MAX_BYTES)}"
    return Sound(data, mime, problem)


def picture_kind(data: bytes) -> str:
    """Returns the MIME type of a picture by its first bytes, or ``""``."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return ""


def binary_size(count: int) -> str:
    """Returns a number of bytes for a person: ``812 bytes``, ``12 KiB``, ``3.4 MiB``."""
    if count < 1024:
        return f"{count} byte{'' if count == 1 else 's'}"
    if count < 1024 * 1024:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 1024 / 1024:.1f} MiB"


def _decode(encoded: str) -> tuple[bytes, str]:
    try:
        return base64.b64decode(encoded, validate=False), ""
    except (binascii.Error, ValueError):
        return b"", "it is not base64"


def _safe_mime(said: str | None) -> str:
    return printable(said or "", 60, ascii_only=True) or "application/octet-stream"


def _kind(mime: str) -> str:
    names = {"image/svg+xml": "SVG", "audio/mpeg": "MP3", "image/webp": "WebP"}
    known = mime in names or mime in {"image/png", "image/jpeg", "image/gif", "audio/wav"}
    return names.get(mime, mime.partition("/")[2].upper()) if known else mime


def _dimensions(data: bytes, mime: str) -> tuple[int, int]:
    read = {
        "image/png": _png_dimensions,
        "image/jpeg": _jpeg_dimensions,
        "image/gif": _gif_dimensions,
        "image/webp": _webp_dimensions,
    }
    try:
        return read[mime](data)
    except (struct.error, IndexError):  # the header ends too early
        return 0, 0


def _png_dimensions(data: bytes) -> tuple[int, int]:
    """Reads the IHDR chunk, which is always the first (PNG 3rd edition, §11.2.1)."""
    if data[12:16] != b"IHDR":
        return 0, 0
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_dimensions(data: bytes) -> tuple[int, int]:
    """Walks the segments up to the frame header (ITU-T T.81, B.2.2)."""
    place = 2
    while True:
        if data[place] != 0xFF:
            return 0, 0
        while data[place] == 0xFF:  # fill bytes
            place += 1
        marker = data[place]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, place + 4)
            return width, height
        if marker == 0xDA or marker == 0xD9:  # the scan or the end, with no frame before it
            return 0, 0
        bare = marker == 0x01 or 0xD0 <= marker <= 0xD8  # these have no length
        place += 1 if bare else 1 + max(2, struct.unpack_from(">H", data, place + 1)[0])


def _gif_dimensions(data: bytes) -> tuple[int, int]:
    """Takes the larger of the screen and the first frame (GIF89a, §18 and §20).

    Decoders enlarge the screen for a first frame that is larger than it.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _colours(flags)
    while data[place] == 0x21:  # an extension: its label, then blocks up to an empty one
        place += 2
        while data[place]:
            place += 1 + data[place]
        place += 1
    if data[place] != 0x2C:
        return 0, 0
    left, top, wide, high = struct.unpack_from("<HHHH", data, place + 1)
    return max(width, left + wide), max(height, top + high)


def _colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 0x07) + 1) if flags & 0x80 else 0


def _webp_dimensions(data: bytes) -> tuple[int, int]:
    """Reads the first chunk (RFC 9649 §2.5 to §2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = data[24:27], data[27:30]
        if len(height) < 3:
            return 0, 0
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0
