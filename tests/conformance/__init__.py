"""The MCP conformance suite, run against a real kernel: see `suite` and `client`."""
