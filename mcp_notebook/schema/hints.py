"""What a tool says about its side effects: hints, not promises.

MCP 2025-11-25, schema, `ToolAnnotations`: a tool that says nothing is neither read-only nor
idempotent, and may destroy something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mcp_types


def may_be_repeated(tool: mcp_types.Tool) -> bool:
    """Tells whether a tool says that calling it twice does no harm."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)


def is_harmless(tool: mcp_types.Tool) -> bool:
    """Tells whether a tool says that it changes nothing, or adds only."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.destructive_hint is False)
