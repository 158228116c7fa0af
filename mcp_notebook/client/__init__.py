"""One live MCP client on the background loop: dialled, bounded, kept, told in our errors."""
