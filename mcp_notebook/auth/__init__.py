"""Signing in to one MCP server with OAuth 2.1. This folder knows no notebook."""
