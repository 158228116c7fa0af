"""An OAuth-protected MCP server on loopback, for the quickstart."""
