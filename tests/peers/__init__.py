"""Real peers on loopback: an authorization server, an MCP server it guards, and a person.

    with serve_authority() as authority, serve_tools(authority) as tools:
        ...                                # tools.url is an MCP endpoint that wants a sign-in
        visit(sign_in.url)                 # the person opens the link and clicks "Approve"

Both servers are whole ones behind uvicorn. What a test wants to be odd is a knob, and may be
turned while the server runs. Both keep what they were asked (`seen`).
"""

from tests.peers.authority import Authority, AuthorityKnobs, serve_authority
from tests.peers.person import callback_url, visit
from tests.peers.tool_server import ToolKnobs, ToolServer, serve_tools
from tests.peers.web import Seen

__all__ = [
    "Authority",
    "AuthorityKnobs",
    "Seen",
    "ToolKnobs",
    "ToolServer",
    "callback_url",
    "serve_authority",
    "serve_tools",
    "visit",
]
