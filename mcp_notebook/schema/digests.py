"""Short hashes of what a server says, to tell whether it says the same again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mcp_types


def digest(value: dict[str, Any]) -> bytes:
    """Returns the SHA-256 of a JSON object, whatever the order of its members."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def schema_digest(tool: mcp_types.Tool) -> str:
    """Returns a short hash of what a tool takes and answers."""
    return digest({"in": tool.input_schema, "out": tool.output_schema}).hex()[:16]
