"""The version, and how the package names itself to servers."""

VERSION = "0.1.0"
USER_AGENT = f"mcp_notebook/{VERSION}"
