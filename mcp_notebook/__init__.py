"""MCP servers in a notebook. Imports nothing heavy: every room is opened on first use."""

from mcp_notebook._version import VERSION as __version__

__all__ = ["__version__"]
